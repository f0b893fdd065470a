//! `Client`: well-formed HTTP over TCP or a unix socket, one connection per request.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Reply, tls, within};

/// The address of a daemon.
#[derive(Debug, Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// Over TLS, as `localhost`.
    Tls(SocketAddr, Arc<ClientConfig>),
}

/// A byte stream of any transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl std::fmt::Debug for dyn Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stream")
    }
}

impl Address {
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tls(address, config) => {
                let stream = TcpStream::connect(address).await?;
                Box::new(tls::connect(ClientConfig::clone(config), stream).await?)
            }
        })
    }

    /// Returns the value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tls(address, _) => format!("localhost:{}", address.port()),
        }
    }
}

/// Sends requests to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
}

impl Client {
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn put(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call("PUT", path).body(body)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// Creates a request with any method. `path` is sent unchanged.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let headers = HeaderMap::from_iter([(hyper::header::HOST, self.address.authority().parse().unwrap())]);
        Call {
            address: self.address.clone(),
            method: method.to_owned(),
            target: path.to_owned(),
            headers,
            body: Empty::new().boxed(),
            http2: false,
        }
    }

    /// Creates a run request of a client that accepts trailers, and so learns the outcome no matter how late it comes.
    pub fn run(&self, handler: &str) -> Call {
        self.run_plain(handler).header("te", "trailers")
    }

    /// Creates a run request of a client that accepts neither trailers nor frames, like most clients. If the run takes longer than the daemon
    /// holds back the response head, such a client can only tell whether the response was truncated.
    pub fn run_plain(&self, handler: &str) -> Call {
        self.post(&format!("/v1/handlers/{handler}/run"))
    }

    /// Pushes a program.
    ///
    /// # Panics
    /// If the daemon rejects it.
    pub async fn push(&self, handler: &str, wasm: impl Into<Bytes>) {
        let reply = self.put(&format!("/v1/handlers/{handler}"), wasm).send().await;
        assert!(matches!(reply.status, 200 | 201), "push of {handler}: {reply:?}");
    }

    /// Returns the number of running jobs that the daemon reports.
    pub async fn running(&self) -> u64 {
        let reply = self.get("/v1/info").send().await;
        reply.json()["jobs"]["running"].as_u64().unwrap_or_else(|| panic!("no jobs.running in {reply:?}"))
    }
}

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Call {
    address: Address,
    method: String,
    target: String,
    headers: HeaderMap,
    body: BoxBody<Bytes, Infallible>,
    http2: bool,
}

impl Call {
    /// Adds a query parameter and percent-encodes its value.
    #[must_use]
    pub fn query(mut self, key: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target = format!("{}{separator}{key}={}", self.target, percent_encoded(value));
        self
    }

    /// Adds an argument of the run.
    #[must_use]
    pub fn arg(self, value: &str) -> Self {
        self.query("arg", value)
    }

    /// Adds an environment variable of the run.
    #[must_use]
    pub fn env(self, key: &str, value: &str) -> Self {
        self.header("capstan-env", &format!("{}={}", percent_encoded(key), percent_encoded(value)))
    }

    /// Adds a header. `Host` replaces the existing one.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("host") {
            self.headers.insert(name, value.parse().unwrap());
        } else {
            self.headers.append(name, value.parse().unwrap());
        }
        self
    }

    /// Requests the response of a run as frames instead of with trailers.
    #[must_use]
    pub fn framed(mut self) -> Self {
        self.headers.remove(hyper::header::TE);
        self.header("accept", crate::frames::MEDIA_TYPE)
    }

    /// Uses HTTP/2 with prior knowledge.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sets the body, with a `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Full::new(body.into()).boxed();
        self
    }

    /// Sets a streaming body that the test sends in pieces.
    #[must_use]
    pub fn streaming_body(mut self) -> (Self, Feed) {
        let (sender, pieces) = mpsc::channel(1);
        self.body = Pieces(pieces).boxed();
        (self, Feed(sender))
    }

    /// Sends the request and reads the whole response.
    ///
    /// # Panics
    /// If there is no response or it is truncated.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.target);
        let reply = self.send_until_cut().await;
        assert!(!reply.cut, "the response to {what} was truncated: {reply:?}");
        reply
    }

    /// Like [`Call::send`], but also accepts a truncated response.
    pub async fn send_until_cut(self) -> Reply {
        self.open().await.finish().await
    }

    /// Sends the request and returns as soon as the head of the response arrives.
    ///
    /// # Panics
    /// If no response arrives.
    pub async fn open(self) -> Exchange {
        let what = format!("{} {}", self.method, self.target);
        self.try_open().await.unwrap_or_else(|error| panic!("no response to {what}: {error}"))
    }

    /// Like [`Call::open`], but returns failures.
    ///
    /// # Errors
    /// If the connection fails or closes without a response.
    pub async fn try_open(self) -> io::Result<Exchange> {
        within(format!("a response to {} {}", self.method, self.target), self.exchange()).await
    }

    async fn exchange(self) -> io::Result<Exchange> {
        let stream = TokioIo::new(self.address.connect().await?);
        let uri = if self.http2 { format!("http://{}{}", self.address.authority(), self.target) } else { self.target };
        let mut request = Request::builder().method(self.method.as_str()).uri(uri).body(self.body).unwrap();
        *request.headers_mut() = self.headers;
        let (response, connection) = if self.http2 {
            request.headers_mut().remove(hyper::header::HOST);
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        };
        let (head, body) = response.map_err(io::Error::other)?.into_parts();
        Ok(Exchange { status: head.status.as_u16(), headers: head.headers, body, connection })
    }
}

/// A response whose head has arrived. Dropping it closes the connection.
#[derive(Debug)]
pub struct Exchange {
    pub status: u16,
    pub headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Exchange {
    /// Returns a header of the response head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the next piece of the body, or `None` at its end or where it is truncated.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = within("the next piece of a response", self.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// Reads until at least `count` bytes have arrived, or the body ends.
    pub async fn read_at_least(&mut self, count: usize) -> Bytes {
        let mut read = BytesMut::new();
        while read.len() < count {
            let Some(piece) = self.piece().await else { break };
            read.extend_from_slice(&piece);
        }
        read.freeze()
    }

    /// Reads the rest of the response.
    pub async fn finish(mut self) -> Reply {
        let mut body = BytesMut::new();
        let mut trailers = None;
        let mut cut = false;
        while let Some(frame) = within("the end of a response", self.body.frame()).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(other)) => trailers = other.into_trailers().ok(),
                Err(_) => {
                    cut = true;
                    break;
                }
            }
        }
        let headers = std::mem::take(&mut self.headers);
        Reply { status: self.status, headers, body: body.freeze(), trailers, cut }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The sending half of a request body. Dropping it ends the body.
#[derive(Debug)]
pub struct Feed(mpsc::Sender<Bytes>);

impl Feed {
    /// Sends a piece as soon as there is space for it. Returns false if the connection is closed.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        within("space for a piece of a request", self.0.send(piece.into())).await.is_ok()
    }

    /// Like [`Feed::send`], but without a timeout.
    pub async fn send_patiently(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(piece.into()).await.is_ok()
    }
}

struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
