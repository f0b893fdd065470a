//! The three streams of a job: bounded pipes with one owner at each end.
//!
//! Writing waits while the pipe is full, so a slow reader slows its writer and nobody else. Dropping an end closes it: the reader
//! then sees the end of the stream, the writer a broken pipe. Nothing else closes a stream, so it is closed once and by its owner.

pub mod decode;
mod fanout;
mod line_capture;
mod outlet;
mod shared_sink;
mod tail;
mod tap;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

pub use self::fanout::{FanOut, SinkError};
pub use self::line_capture::LineCapture;
pub use self::outlet::Outlet;
pub use self::shared_sink::SharedSink;
pub use self::tail::Tail;
pub use self::tap::{CarryError, Evicted, Piece, Policy, Tap};

/// Bytes a pipe holds before its writer waits.
pub const PIPE_CAPACITY: usize = 64 * 1024;

/// The end that is written to.
#[derive(Debug)]
pub struct Sink(To);

/// The end that is read from.
#[derive(Debug)]
pub struct Source(Of);

enum To {
    Pipe(DuplexStream),
    Writer(Box<dyn AsyncWrite + Send + Sync + Unpin>),
    Nowhere,
}

#[derive(Debug)]
enum Of {
    Pipe(DuplexStream),
    Memory(Bytes),
}

/// A pipe that holds at most `capacity` bytes.
pub fn pipe(capacity: usize) -> (Sink, Source) {
    let (write, read) = tokio::io::duplex(capacity);
    (Sink(To::Pipe(write)), Source(Of::Pipe(read)))
}

impl Sink {
    /// A sink that takes everything and keeps nothing.
    pub fn discard() -> Self {
        Self(To::Nowhere)
    }

    /// A sink that is `writer`; dropping it is its end.
    pub fn new(writer: impl AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        Self(To::Writer(Box::new(writer)))
    }
}

impl Source {
    /// A source that is at its end: what a job without stdin reads.
    pub fn empty() -> Self {
        Self::of(Bytes::new())
    }

    /// A source of these bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self(Of::Memory(bytes.into()))
    }
}

impl fmt::Debug for To {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pipe(_) => "Pipe",
            Self::Writer(_) => "Writer",
            Self::Nowhere => "Nowhere",
        })
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            To::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            To::Writer(writer) => Pin::new(writer).poll_write(cx, buf),
            To::Nowhere => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            To::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            To::Writer(writer) => Pin::new(writer).poll_flush(cx),
            To::Nowhere => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            To::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            To::Writer(writer) => Pin::new(writer).poll_shutdown(cx),
            To::Nowhere => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Of::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Of::Memory(bytes) => {
                let count = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes.split_to(count));
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_full_pipe_holds_its_writer_back() {
        let (mut sink, mut source) = pipe(4);
        sink.write_all(b"full").await.unwrap();
        let mut write = std::pin::pin!(sink.write_all(b"!"));
        assert!(futures_poll(write.as_mut()).await.is_pending());
        let mut buf = [0; 4];
        source.read_exact(&mut buf).await.unwrap();
        write.await.unwrap();
    }

    #[tokio::test]
    async fn dropping_an_end_closes_it() {
        let (sink, mut source) = pipe(4);
        drop(sink);
        assert_eq!(source.read(&mut [0; 4]).await.unwrap(), 0);
        let (mut sink, source) = pipe(4);
        drop(source);
        assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn no_stdin_is_the_end_at_once_and_discard_takes_all() {
        assert_eq!(Source::empty().read(&mut [0; 4]).await.unwrap(), 0);
        Sink::discard().write_all(&[0; 1 << 20]).await.unwrap();
    }

    #[tokio::test]
    async fn a_source_of_bytes_is_read_to_its_end_in_any_portions() {
        let mut source = Source::of("hello");
        let mut two = [0; 2];
        source.read_exact(&mut two).await.unwrap();
        let mut rest = String::new();
        source.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&two, rest.as_str()), (b"he", "llo"));
    }

    async fn futures_poll<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
