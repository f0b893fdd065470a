//! `EarlyResponseStream`: a stream on which a response can be read although the request can no longer be written.
//!
//! A daemon may respond before it has read the whole request, and close the connection. For example, a guest that ignores stdin exits
//! while the client is still sending stdin. hyper gives up at the first failed write and would lose a response that has already arrived.
//! Here, a write never reports an error: once a write has failed, all writes stay pending. The reading side ends the exchange instead,
//! with the response or with an error of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that reports errors only when it is read.
#[derive(Debug)]
pub(super) struct EarlyResponseStream<S> {
    stream: S,
    /// Whether a write has failed.
    is_write_broken: bool,
}

impl<S> EarlyResponseStream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, is_write_broken: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EarlyResponseStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EarlyResponseStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_unless_broken(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_unless_broken(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unless_broken(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncWrite + Unpin> EarlyResponseStream<S> {
    fn poll_unless_broken<T>(
        self: Pin<&mut Self>,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = self.get_mut();
        if this.is_write_broken {
            return Poll::Pending;
        }
        match write(Pin::new(&mut this.stream)) {
            Poll::Ready(Err(_)) => {
                this.is_write_broken = true;
                Poll::Pending
            }
            poll => poll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};
    use hyper::Request;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    /// The server responds and closes the connection before the client has written anything, so that every write fails.
    #[tokio::test]
    async fn response_is_read_although_every_write_fails() {
        let (mut server, client) = UnixStream::pair().unwrap();
        let respond = async move {
            // hyper treats a response without a request as an error. So the server waits until the request has started.
            server.readable().await.unwrap();
            server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
        };
        let send_request = async move {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(EarlyResponseStream::new(client))).await.unwrap();
            let exchange = async {
                let body = Full::new(bytes::Bytes::from(vec![0; 4 << 20]));
                sender.send_request(Request::new(body)).await.unwrap().collect().await.unwrap().to_bytes()
            };
            tokio::select! {
                body = exchange => body,
                ended = connection => panic!("the connection ended before the response was read: {ended:?}"),
            }
        };
        let ((), body) = tokio::join!(respond, send_request);
        assert_eq!(body, "early");
    }
}
