//! [`Stdin`]: the stdin of a guest.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use capstan_core::stream::Source;
use capstan_core::usage::Usage;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use super::CHUNK_SIZE;

/// The stdin of a guest. Clones read the same stream.
#[derive(Clone)]
pub(crate) struct Stdin {
    input: Arc<Mutex<Input>>,
    is_terminal: bool,
}

struct Input {
    source: Source,
    /// What the guest may read now.
    ready: Bytes,
    /// What was read from the source and becomes ready when it is a whole chunk.
    gathered: BytesMut,
    /// Whether the guest only reads whole chunks, regardless of how the bytes arrive.
    has_fixed_chunks: bool,
    has_ended: bool,
    usage: Arc<Usage>,
}

impl Stdin {
    /// Creates the stream. The guest reads chunks as they arrive, or with `has_fixed_chunks` always chunks of the same size.
    pub(crate) fn new(source: Source, has_fixed_chunks: bool, usage: Arc<Usage>) -> Self {
        let (ready, gathered) = (Bytes::new(), BytesMut::new());
        let input = Input { source, ready, gathered, has_fixed_chunks, has_ended: false, usage };
        Self { input: Arc::new(Mutex::new(input)), is_terminal: false }
    }

    /// Makes the stream one that ends at a terminal, or not.
    pub(crate) fn on_terminal(self, is_terminal: bool) -> Self {
        Self { is_terminal, ..self }
    }

    /// Returns whether a read returns at once, with bytes or with the end of the stream.
    pub(crate) fn is_ready(&self) -> bool {
        self.lock().poll_fill(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Waits until there are bytes to read, or the stream has ended.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().poll_fill(cx)
    }

    /// Waits for bytes and copies as many as there are into `target`, which is not empty. Returns their number, which is 0 at the end.
    pub(crate) fn poll_read_into(&self, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<usize> {
        let mut input = self.lock();
        std::task::ready!(input.poll_fill(cx));
        Poll::Ready(input.copy_to(target))
    }

    /// Waits for bytes and takes them as they are. There are none at the end.
    pub(crate) fn poll_read_bytes(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut input = self.lock();
        std::task::ready!(input.poll_fill(cx));
        Poll::Ready(std::mem::take(&mut input.ready))
    }

    fn lock(&self) -> MutexGuard<'_, Input> {
        self.input.lock().expect("no panic while the lock is held")
    }
}

impl Input {
    /// Becomes ready when the guest can read, or when the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.source.has_ended_early() {
            self.ready.clear();
            self.has_ended = true;
        }
        while self.ready.is_empty() && !self.has_ended {
            if self.has_fixed_chunks {
                std::task::ready!(self.poll_gather(cx));
            } else {
                self.ready = std::task::ready!(self.source.poll_read_bytes(cx));
                self.has_ended = self.ready.is_empty();
                self.usage.stdin_bytes.add(self.ready.len() as u64);
            }
        }
        Poll::Ready(())
    }

    /// Adds what has arrived to the next chunk. The chunk becomes ready when it is whole, or when the stream has ended.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.gathered.len();
        self.gathered.resize(CHUNK_SIZE, 0);
        let polled = self.source.poll_copy_to(cx, &mut self.gathered[before..]);
        let size = if let Poll::Ready(size) = polled { size } else { 0 };
        self.gathered.truncate(before + size);
        self.usage.stdin_bytes.add(size as u64);
        self.has_ended = std::task::ready!(polled) == 0;
        if self.has_ended || self.gathered.len() == CHUNK_SIZE {
            self.ready = self.gathered.split().freeze();
        }
        Poll::Ready(())
    }

    /// Copies into `target` what the guest may read now. Returns its number of bytes.
    fn copy_to(&mut self, target: &mut [u8]) -> usize {
        let size = target.len().min(self.ready.len());
        self.ready.copy_to_slice(&mut target[..size]);
        if self.has_fixed_chunks || size == target.len() {
            return size;
        }
        // Small pieces that have arrived are read together.
        let mut cx = Context::from_waker(Waker::noop());
        match self.source.poll_copy_to(&mut cx, &mut target[size..]) {
            Poll::Ready(more) => {
                self.usage.stdin_bytes.add(more as u64);
                size + more
            }
            Poll::Pending => size,
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut input = self.lock();
        let _ = input.poll_fill(&mut Context::from_waker(Waker::noop()));
        if input.ready.is_empty() {
            return if input.has_ended { Err(StreamError::Closed) } else { Ok(Bytes::new()) };
        }
        let size = size.min(input.ready.len());
        Ok(input.ready.split_to(size))
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
        let size = std::task::ready!(self.poll_read_into(cx, buf.initialize_unfilled()));
        buf.advance(size);
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
        self.is_terminal
    }
}
