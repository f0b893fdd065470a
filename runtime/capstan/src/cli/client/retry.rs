//! `Patient`: a stream whose broken write side does not hide what can still be read.
//!
//! A daemon may answer before it has read the request to its end, and close: a guest that ignores stdin ends while stdin is still
//! being sent. hyper gives up at the first failed write, and the answer that has arrived already would be lost. Here a write that
//! fails waits for ever instead; the reading side then ends the exchange, with the answer or with an error of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of which only reading reports that it broke.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    broken: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, broken: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_broken(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_broken(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_broken(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn unless_broken<T>(
        self: Pin<&mut Self>,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = self.get_mut();
        if this.broken {
            return Poll::Pending;
        }
        match write(Pin::new(&mut this.stream)) {
            Poll::Ready(Err(_)) => {
                this.broken = true;
                Poll::Pending
            }
            progress => progress,
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

    /// The answer is there and the connection closed before the client has written anything: every write fails.
    #[tokio::test]
    async fn an_answer_that_came_early_is_read() {
        let (mut server, client) = UnixStream::pair().unwrap();
        let answering = async move {
            // Sent only once the request has begun, since hyper takes an answer without a question for an error.
            server.readable().await.unwrap();
            server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
        };
        let asking = async move {
            let (mut sender, connection) = http1::handshake(TokioIo::new(Patient::new(client))).await.unwrap();
            let exchange = async {
                let body = Full::new(bytes::Bytes::from(vec![0; 4 << 20]));
                sender.send_request(Request::new(body)).await.unwrap().collect().await.unwrap().to_bytes()
            };
            tokio::select! {
                body = exchange => body,
                ended = connection => panic!("the connection ended before the answer was read: {ended:?}"),
            }
        };
        let ((), body) = tokio::join!(answering, asking);
        assert_eq!(body, "early");
    }
}
