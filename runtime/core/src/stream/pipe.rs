//! [`Sink`] and [`Source`]: the two ends of a stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Default capacity of a pipe in bytes. A writer waits while the pipe is full.
pub const PIPE_CAPACITY: usize = 64 * 1024;

/// The end of a stream that is written to.
#[derive(Debug)]
pub struct Sink(SinkKind);

/// The end of a stream that is read from.
#[derive(Debug)]
pub struct Source(SourceKind);

enum SinkKind {
    Pipe(DuplexStream),
    Writer(Box<dyn AsyncWrite + Send + Sync + Unpin>),
    Discard,
}

#[derive(Debug)]
enum SourceKind {
    Pipe(DuplexStream),
    Memory(Bytes),
}

/// Creates a pipe that holds at most `capacity` bytes.
pub fn pipe(capacity: usize) -> (Sink, Source) {
    let (write, read) = tokio::io::duplex(capacity);
    (Sink(SinkKind::Pipe(write)), Source(SourceKind::Pipe(read)))
}

impl Sink {
    /// Creates a sink that discards everything.
    pub fn discard() -> Self {
        Self(SinkKind::Discard)
    }

    /// Creates a sink that writes to `writer`. Dropping the sink drops `writer`.
    pub fn new(writer: impl AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        Self(SinkKind::Writer(Box::new(writer)))
    }
}

impl Source {
    /// Creates a source without content, for a job without stdin.
    pub fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    /// Creates a source with these bytes.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(SourceKind::Memory(bytes.into()))
    }
}

impl fmt::Debug for SinkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pipe(_) => "Pipe",
            Self::Writer(_) => "Writer",
            Self::Discard => "Discard",
        })
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            SinkKind::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            SinkKind::Writer(writer) => Pin::new(writer).poll_write(cx, buf),
            SinkKind::Discard => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SinkKind::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            SinkKind::Writer(writer) => Pin::new(writer).poll_flush(cx),
            SinkKind::Discard => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SinkKind::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            SinkKind::Writer(writer) => Pin::new(writer).poll_shutdown(cx),
            SinkKind::Discard => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SourceKind::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            SourceKind::Memory(bytes) => {
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
    async fn write_to_full_pipe_waits_for_its_reader() {
        let (mut sink, mut source) = pipe(4);
        sink.write_all(b"full").await.unwrap();
        let mut write = std::pin::pin!(sink.write_all(b"!"));
        assert!(poll_once(write.as_mut()).await.is_pending());
        let mut buf = [0; 4];
        source.read_exact(&mut buf).await.unwrap();
        write.await.unwrap();
    }

    #[tokio::test]
    async fn drop_of_an_end_closes_the_other() {
        let (sink, mut source) = pipe(4);
        drop(sink);
        assert_eq!(source.read(&mut [0; 4]).await.unwrap(), 0);
        let (mut sink, source) = pipe(4);
        drop(source);
        assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn empty_source_is_at_its_end_and_discard_takes_all() {
        assert_eq!(Source::empty().read(&mut [0; 4]).await.unwrap(), 0);
        Sink::discard().write_all(&[0; 1 << 20]).await.unwrap();
    }

    #[tokio::test]
    async fn source_from_bytes_is_read_in_portions_of_any_size() {
        let mut source = Source::from_bytes("hello");
        let mut two = [0; 2];
        source.read_exact(&mut two).await.unwrap();
        let mut rest = String::new();
        source.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&two, rest.as_str()), (b"he", "llo"));
    }

    async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
