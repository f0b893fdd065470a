//! [`Stdout`]: the stdout or stderr of a guest.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use capstan_core::limits::Overflow;
use capstan_core::outcome::OutputStream;
use capstan_core::stream::Sink;
use capstan_core::usage::{Counter, Usage};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiOutput, Pollable, StreamError, StreamResult};

use super::CHUNK_SIZE;

/// Up to this size, the pipe copies a write. It takes a larger one without a copy.
const MAX_COPIED: usize = 16 << 10;

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
    /// Creates the stream with a cap of `limit` bytes. [`flush_batch`](Self::flush_batch) must be called when the guest pauses.
    pub(crate) fn new(stream: OutputStream, sink: Sink, limit: u64, overflow: Overflow, usage: Arc<Usage>) -> Self {
        let output = Output::new(stream, sink, limit, overflow, usage);
        Self { output: Arc::new(Mutex::new(output)), is_terminal: false }
    }

    /// Creates another stream of the same kind and with the same cap, for the next run of an instance.
    pub(crate) fn like(other: &Self, sink: Sink, usage: Arc<Usage>) -> Self {
        let Output { stream, limit, overflow, .. } = *other.lock();
        Self::new(stream, sink, limit, overflow, usage)
    }

    /// Lets all clones write to `sink` from now on, with all of the cap, and closes what they wrote to before.
    pub(crate) fn restart(&self, sink: Sink, usage: Arc<Usage>) {
        let mut output = self.lock();
        *output = Output::new(output.stream, sink, output.limit, output.overflow, usage);
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
            output.write_copy(&bytes[..size]);
        }
        // The write that exceeds the cap ends the run, and not the next one.
        if output.is_capped { Err(StreamError::Trap(output.cap_reached().into())) } else { Ok(size) }
    }

    /// Waits until nothing is pending, and then writes as many of `bytes` as one write may have.
    ///
    /// # Errors
    /// As for a stream of the guest.
    pub(crate) fn poll_write_some(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<StreamResult<usize>> {
        std::task::ready!(self.lock().poll_drain(cx));
        Poll::Ready(self.try_write(bytes))
    }

    /// Writes all of `bytes`, without a copy, and waits while the pipe is full.
    ///
    /// Not cancel-safe: some of the bytes may have been written.
    ///
    /// # Errors
    /// As for a stream of the guest.
    pub(crate) async fn write_bytes(&self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            self.drained().await;
            let mut output = self.lock();
            let size = output.check()?.min(bytes.len());
            if size > 0 {
                output.write(bytes.split_to(size));
            }
            // The write that exceeds the cap ends the run, and not the next one.
            if output.is_capped {
                return Err(StreamError::Trap(output.cap_reached().into()));
            }
        }
        Ok(())
    }

    /// Waits until the pipe has taken everything that the guest wrote. Cancel-safe.
    pub(crate) async fn drained(&self) {
        std::future::poll_fn(|cx| self.lock().poll_drain(cx)).await;
    }

    /// Lets the reader see what the guest has written. Until then, it is woken only for large pieces.
    pub(crate) fn flush_batch(&self) {
        self.lock().sink.flush_batch();
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().expect("no panic while the lock is held")
    }
}

impl Output {
    fn new(stream: OutputStream, sink: Sink, limit: u64, overflow: Overflow, usage: Arc<Usage>) -> Self {
        let sink = sink.batched();
        let (pending, remaining) = (Bytes::new(), limit);
        let (is_capped, is_closed) = (false, false);
        Self { stream, sink, pending, remaining, limit, overflow, is_capped, is_closed, usage }
    }

    /// Becomes ready when no bytes are pending.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.pending.is_empty() {
            match self.sink.poll_write_bytes(cx, &mut self.pending) {
                Poll::Ready(Ok(_)) => {}
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
        bytes.truncate(self.admit(&bytes));
        self.pending = bytes;
        let _ = self.poll_drain(&mut Context::from_waker(Waker::noop()));
    }

    /// Writes a copy of `bytes`.
    fn write_copy(&mut self, bytes: &[u8]) {
        if bytes.len() > MAX_COPIED {
            return self.write(Bytes::copy_from_slice(bytes));
        }
        let admitted = &bytes[..self.admit(bytes)];
        let written = match Pin::new(&mut self.sink).poll_write(&mut Context::from_waker(Waker::noop()), admitted) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => {
                self.is_closed = true;
                admitted.len()
            }
            Poll::Pending => 0,
        };
        self.pending = Bytes::copy_from_slice(&admitted[written..]);
        let _ = self.poll_drain(&mut Context::from_waker(Waker::noop()));
    }

    /// Counts a write, and returns how many of its bytes are below the cap.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let size = bytes.len() as u64;
        if size > self.remaining {
            match self.overflow {
                Overflow::Stop => self.is_capped = true,
                Overflow::Truncate => self.truncated().add(size - self.remaining),
            }
        }
        let admitted = size.min(self.remaining);
        self.remaining -= admitted;
        self.counter().add(admitted);
        let admitted = usize::try_from(admitted).expect("it is at most the length of a buffer");
        if self.stream == OutputStream::Stderr {
            self.usage.last_stderr.record(&bytes[..admitted]);
        }
        admitted
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
        output.write_copy(&buf[..size]);
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

/// Runs `guest` to its end. Whenever it pauses, lets the readers of `outputs` see what it has written, which are woken for large pieces only
/// while it runs. A guest runs for a millisecond at most.
pub(crate) async fn flush_at_pauses<T>(outputs: &[Stdout], guest: impl Future<Output = T>) -> T {
    let mut guest = pin!(guest);
    std::future::poll_fn(|cx| {
        let polled = guest.as_mut().poll(cx);
        if polled.is_pending() {
            outputs.iter().for_each(Stdout::flush_batch);
        }
        polled
    })
    .await
}
