//! `WebSocket`: a client that sends and receives messages.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Stream;
use crate::frames::{self, Framed};
use crate::{Address, within};

/// A WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<Box<dyn Stream>>,
    /// The headers of the handshake response, one per line, in lower case.
    pub answer: String,
}

impl WebSocket {
    /// Opens a connection with additional `headers`.
    ///
    /// # Errors
    /// If the daemon rejects the handshake.
    pub async fn try_connect(
        address: &Address,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<Response>> {
        let mut request = format!("ws://{}{path}", address.authority()).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = within("a connection", address.connect()).await.unwrap();
        match within("a handshake", client_async(request, stream)).await {
            Ok((stream, answer)) => {
                let lines =
                    answer.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
                Ok(Self { stream, answer: lines.collect() })
            }
            Err(Error::Http(answer)) => Err(answer),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    /// Like [`WebSocket::try_connect`], but panics if the daemon rejects the handshake.
    pub async fn connect(address: &Address, path: &str) -> Self {
        Self::try_connect(address, path, &[]).await.unwrap_or_else(|answer| panic!("rejected: {answer:?}"))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Message) {
        within("space for a message", self.stream.send(message)).await.unwrap();
    }

    /// Returns the next message, or `None` once the connection is closed. Responds to pings without returning them.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.stream.next()).await?.unwrap() {
                Message::Ping(_) => {}
                message => return Some(message),
            }
        }
    }

    /// Returns the next frame.
    ///
    /// # Panics
    /// If the next message is not a frame.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        match self.next().await {
            Some(Message::Binary(bytes)) => {
                let mut frames = frames::Splitter::default().push(&bytes);
                assert_eq!(frames.len(), 1, "a message is a frame: {bytes:?}");
                frames.remove(0)
            }
            other => panic!("{other:?} is not a frame"),
        }
    }

    /// Returns all remaining frames, one whole frame per message, and the Close that ends the connection.
    ///
    /// # Panics
    /// If the connection ends without a Close.
    pub async fn rest(mut self) -> (Framed, CloseFrame) {
        let mut body = Vec::new();
        loop {
            match self.next().await {
                Some(Message::Binary(bytes)) => {
                    assert_eq!(frames::Splitter::default().push(&bytes).len(), 1, "a message is a frame: {bytes:?}");
                    body.extend(bytes);
                }
                Some(Message::Close(Some(close))) => return (frames::demultiplex(&body), close),
                other => panic!("{other:?} is neither a frame nor a Close with a reason"),
            }
        }
    }
}
