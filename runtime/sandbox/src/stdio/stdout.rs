//! [`Stdout`]: the stdout or stderr of a guest.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use capstan_core::limits::Overflow;
use capstan_core::outcome::OutputStream;
use capstan_core::stream::Sink;
use capstan_core::usage::{Counter, Usage};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiOutput, Pollable, StreamError, StreamResult};

use super::CHUNK_SIZE;

/// The guest wrote more than its cap allows, which ends the run.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{stream} cap of {limit} bytes reached")]
pub(crate) struct CapReached {
    pub(crate) stream: OutputStream,
    pub(crate) limit: u64,
}

/// The stdout or stderr of a guest. Clones write the same stream.
#[derive(Clone)]
pub(crate) struct Stdout {
    output: Arc<Mutex<Output>>,
    is_terminal: bool,
}

struct Output {
    stream: OutputStream,
    sink: Sink,
    /// Bytes that the guest has written and the pipe has not taken yet.
    pending: Bytes,
    /// Bytes that the guest may still write.
    remaining: u64,
    /// The cap in bytes.
    limit: u64,
    /// What happens at the cap.
    overflow: Overflow,
    is_capped: bool,
    is_closed: bool,
    usage: Arc<Usage>,
}

impl Stdout {
    /// Creates the stream with a cap of `limit` bytes.
    pub(crate) fn new(stream: OutputStream, sink: Sink, limit: u64, overflow: Overflow, usage: Arc<Usage>) -> Self {
        let (pending, remaining) = (Bytes::new(), limit);
        let (is_capped, is_closed) = (false, false);
        let output = Output { stream, sink, pending, remaining, limit, overflow, is_capped, is_closed, usage };
        Self { output: Arc::new(Mutex::new(output)), is_terminal: false }
    }

    /// Makes the stream one that ends at a terminal, or not.
    pub(crate) fn on_terminal(self, is_terminal: bool) -> Self {
        Self { is_terminal, ..self }
    }

    /// Writes as many of `bytes` as fit without waiting, which may be none.
    ///
    /// # Errors
    /// As for a stream of the guest.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> StreamResult<usize> {
        let mut output = self.lock();
        let size = output.check()?.min(bytes.len());
        if size > 0 {
            output.write(Bytes::copy_from_slice(&bytes[..size]));
        }
        Ok(size)
    }

    /// Waits until the pipe has taken everything that the guest wrote. Cancel-safe.
    pub(crate) async fn drained(&self) {
        std::future::poll_fn(|cx| self.lock().poll_drain(cx)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().expect("no panic while the lock is held")
    }
}

impl Output {
    /// Becomes ready when no bytes are pending.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.pending.is_empty() {
            match Pin::new(&mut self.sink).poll_write(cx, &self.pending) {
                Poll::Ready(Ok(taken)) => self.pending.advance(taken),
                Poll::Ready(Err(_)) => {
                    self.is_closed = true;
                    self.pending.clear();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Returns how many bytes the guest may write now: 0 while bytes are pending.
    fn check(&mut self) -> StreamResult<usize> {
        if self.poll_drain(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(0);
        }
        if self.is_capped {
            return Err(StreamError::Trap(self.cap_reached().into()));
        }
        if self.is_closed { Err(StreamError::Closed) } else { Ok(CHUNK_SIZE) }
    }

    fn write(&mut self, mut bytes: Bytes) {
        let size = bytes.len() as u64;
        if size > self.remaining {
            match self.overflow {
                Overflow::Stop => self.is_capped = true,
                Overflow::Truncate => self.truncated().add(size - self.remaining),
            }
            bytes.truncate(usize::try_from(self.remaining).expect("it is less than the length of a buffer"));
        }
        let size = bytes.len() as u64;
        self.remaining -= size;
        self.counter().add(size);
        if self.stream == OutputStream::Stderr {
            self.usage.last_stderr.record(&bytes);
        }
        self.pending = bytes;
        let _ = self.poll_drain(&mut Context::from_waker(Waker::noop()));
    }

    /// Returns the counter of the bytes that were written.
    fn counter(&self) -> &Counter {
        match self.stream {
            OutputStream::Stdout => &self.usage.stdout_bytes,
            OutputStream::Stderr => &self.usage.stderr_bytes,
        }
    }

    /// Returns the counter of the bytes that were discarded.
    fn truncated(&self) -> &Counter {
        match self.stream {
            OutputStream::Stdout => &self.usage.stdout_truncated,
            OutputStream::Stderr => &self.usage.stderr_truncated,
        }
    }

    fn cap_reached(&self) -> CapReached {
        CapReached { stream: self.stream, limit: self.limit }
    }
}

#[async_trait::async_trait]
impl WasiOutput for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut output = self.lock();
        match output.check()? {
            permitted if bytes.len() <= permitted => output.write(bytes),
            _ => return Err(StreamError::trap("the guest wrote more than `check-write` permitted")),
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.lock().check().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.lock().check()
    }
}

#[async_trait::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        self.drained().await;
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut output = self.lock();
        std::task::ready!(output.poll_drain(cx));
        if output.is_capped {
            return Poll::Ready(Err(io::Error::other(output.cap_reached())));
        }
        if output.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = buf.len().min(CHUNK_SIZE);
        output.write(Bytes::copy_from_slice(&buf[..size]));
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_drain(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn WasiOutput> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}
