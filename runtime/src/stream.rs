//! The three streams of a job: bounded pipes with one owner at each end.
//!
//! Writing waits while the pipe is full, so a slow reader slows its writer and nobody else. Dropping an end closes it: the reader
//! then sees the end of the stream, the writer a broken pipe. Nothing else closes a stream, so it is closed once and by its owner.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes a pipe holds before its writer waits.
pub const PIPE_CAPACITY: usize = 64 * 1024;

/// The end that is written to.
#[derive(Debug)]
pub struct Sink(Option<DuplexStream>);

/// The end that is read from.
#[derive(Debug)]
pub struct Source(Option<DuplexStream>);

/// A pipe that holds at most `capacity` bytes.
pub fn pipe(capacity: usize) -> (Sink, Source) {
    let (write, read) = tokio::io::duplex(capacity);
    (Sink(Some(write)), Source(Some(read)))
}

impl Sink {
    /// A sink that takes everything and keeps nothing.
    pub fn discard() -> Self {
        Self(None)
    }
}

impl Source {
    /// A source that is at its end: what a job without stdin reads.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Some(stream) => Pin::new(stream).poll_write(cx, buf),
            None => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
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

    async fn futures_poll<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
