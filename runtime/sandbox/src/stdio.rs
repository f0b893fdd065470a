//! The guest's three streams: a job's pipes behind the library's stream traits.
//!
//! No task stands between a guest and its pipe. What the guest writes goes straight into the pipe; what does not fit is kept, and the
//! guest waits until it is taken. Output is counted, and cut at its cap to the byte.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use capstan_core::limits::Overflow;
use capstan_core::outcome::OutputStream;
use capstan_core::stream::{Sink, Source};
use capstan_core::usage::{Counter, Usage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream as WasiOutput, Pollable, StreamError, StreamResult};

/// Bytes a guest may write or read at a time, and of the pieces in which it reads where each run is to be the same.
const CHUNK: usize = 64 << 10;

/// The guest wrote more than it may: ends the run.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{stream} cap of {limit} bytes reached")]
pub(super) struct CapReached {
    pub(super) stream: OutputStream,
    pub(super) limit: u64,
}

/// The guest's stdin; clones read the same stream.
#[derive(Clone)]
pub(super) struct Stdin(Arc<Mutex<Input>>);

struct Input {
    source: Source,
    ready: BytesMut,
    /// What is to be ready when it is whole.
    gathered: BytesMut,
    /// Whether pieces are whole, however they come in.
    is_whole: bool,
    ended: bool,
    usage: Arc<Usage>,
}

/// The guest's stdout or stderr; clones write the same stream.
#[derive(Clone)]
pub(super) struct Stdout(Arc<Mutex<Output>>);

struct Output {
    stream: OutputStream,
    sink: Sink,
    /// Written by the guest and not yet taken by the pipe.
    pending: Bytes,
    left: u64,
    limit: u64,
    overflow: Overflow,
    capped: bool,
    closed: bool,
    usage: Arc<Usage>,
}

impl Stdin {
    /// In pieces as they come in, or each of the same size where they are to be `is_whole`.
    pub(super) fn new(source: Source, is_whole: bool, usage: Arc<Usage>) -> Self {
        let (ready, gathered) = (BytesMut::new(), BytesMut::new());
        Self(Arc::new(Mutex::new(Input { source, ready, gathered, is_whole, ended: false, usage })))
    }

    fn lock(&self) -> MutexGuard<'_, Input> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Input {
    /// Ready once there is something to read, the end among it.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ready.is_empty() && !self.ended {
            let before = self.gathered.len();
            self.gathered.resize(CHUNK, 0);
            let mut buf = ReadBuf::new(&mut self.gathered[before..]);
            let polled = Pin::new(&mut self.source).poll_read(cx, &mut buf);
            let filled = buf.filled().len();
            self.gathered.truncate(before + filled);
            // The other end of a pipe can only close; a failure is the end as well.
            self.ended = std::task::ready!(polled).is_err() || filled == 0;
            self.usage.stdin_bytes.add(filled as u64);
            if !self.is_whole || self.ended || self.gathered.len() == CHUNK {
                std::mem::swap(&mut self.ready, &mut self.gathered);
            }
        }
        Poll::Ready(())
    }
}

#[async_trait::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut input = self.lock();
        let _ = input.poll_fill(&mut Context::from_waker(Waker::noop()));
        if input.ready.is_empty() {
            return if input.ended { Err(StreamError::Closed) } else { Ok(Bytes::new()) };
        }
        let size = size.min(input.ready.len());
        Ok(input.ready.split_to(size).freeze())
    }
}

#[async_trait::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.lock().poll_fill(cx)).await;
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut input = self.lock();
        std::task::ready!(input.poll_fill(cx));
        let size = buf.remaining().min(input.ready.len());
        buf.put_slice(&input.ready.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl Stdout {
    pub(super) fn new(stream: OutputStream, sink: Sink, limit: u64, overflow: Overflow, usage: Arc<Usage>) -> Self {
        let (pending, left) = (Bytes::new(), limit);
        let (capped, closed) = (false, false);
        Self(Arc::new(Mutex::new(Output { stream, sink, pending, left, limit, overflow, capped, closed, usage })))
    }

    /// Waits until the pipe has taken all that the guest wrote. Cancel-safe.
    pub(super) async fn drained(&self) {
        std::future::poll_fn(|cx| self.lock().poll_drain(cx)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Output {
    /// Ready once nothing is pending.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.pending.is_empty() {
            match Pin::new(&mut self.sink).poll_write(cx, &self.pending) {
                Poll::Ready(Ok(taken)) => self.pending.advance(taken),
                Poll::Ready(Err(_)) => {
                    self.closed = true;
                    self.pending.clear();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// How many bytes may be written now: 0 while some are pending.
    fn check(&mut self) -> StreamResult<usize> {
        if self.poll_drain(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(0);
        }
        if self.capped {
            return Err(StreamError::Trap(self.cap().into()));
        }
        if self.closed { Err(StreamError::Closed) } else { Ok(CHUNK) }
    }

    fn write(&mut self, mut bytes: Bytes) {
        let size = bytes.len() as u64;
        if size > self.left {
            match self.overflow {
                Overflow::Stop => self.capped = true,
                Overflow::Truncate => self.truncated().add(size - self.left),
            }
            bytes.truncate(usize::try_from(self.left).expect("it is less than the length of a buffer"));
        }
        let size = bytes.len() as u64;
        self.left -= size;
        self.counter().add(size);
        if self.stream == OutputStream::Stderr {
            self.usage.last_stderr.record(&bytes);
        }
        self.pending = bytes;
        let _ = self.poll_drain(&mut Context::from_waker(Waker::noop()));
    }

    fn counter(&self) -> &Counter {
        match self.stream {
            OutputStream::Stdout => &self.usage.stdout_bytes,
            OutputStream::Stderr => &self.usage.stderr_bytes,
        }
    }

    fn truncated(&self) -> &Counter {
        match self.stream {
            OutputStream::Stdout => &self.usage.stdout_truncated,
            OutputStream::Stderr => &self.usage.stderr_truncated,
        }
    }

    fn cap(&self) -> CapReached {
        CapReached { stream: self.stream, limit: self.limit }
    }
}

#[async_trait::async_trait]
impl WasiOutput for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut output = self.lock();
        match output.check()? {
            permitted if bytes.len() <= permitted => output.write(bytes),
            _ => return Err(StreamError::trap("wrote more than was permitted")),
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
        if output.capped {
            return Poll::Ready(Err(io::Error::other(output.cap())));
        }
        if output.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = buf.len().min(CHUNK);
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
        false
    }
}
