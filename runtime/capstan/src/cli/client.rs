//! `Client`: HTTP to one daemon, over its unix socket or TCP, with a connection for each request.

mod retry;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use capstan_listen::listener::Address;
use capstan_listen::tls;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE, USER_AGENT};
use hyper::http::request;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::retry::Patient;
use super::error::sentence;
use super::frames::FrameError;

/// How long a daemon may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a daemon may take to answer, one that is still starting included.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of JSON that an answer may have.
const MAX_JSON: usize = 64 << 20;

/// What stays as it is in a path or a query.
pub(super) const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// HTTP to one daemon.
#[derive(Clone, Debug)]
pub(super) struct Client {
    address: Address,
    /// What TCP is secured with, if it is.
    tls: Option<tls::Client>,
}

/// An answer other than an error; dropping it closes its connection.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response<Incoming>,
    _connection: JoinSet<hyper::Result<()>>,
}

/// Why there is no answer, or why it is an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("cannot reach the daemon at {address}: {}; {}", sentence(.source), way_out(.source))]
    Unreachable { address: Address, source: io::Error },
    #[error("the daemon at {address} did not answer within {} s", .patience.as_secs())]
    Silent { address: Address, patience: Duration },
    #[error("no TLS with the daemon at {address}: {why}")]
    Tls { address: Address, why: String },
    #[error("the daemon closed the connection without an answer: {0}")]
    NoAnswer(hyper::Error),
    #[error("{message}{}", later(.retry_after))]
    Refused { code: String, message: String, retry_after: Option<String> },
    #[error("the connection broke before the end")]
    Broken,
    #[error("what answers at {address} is no Capstan daemon, or not of this version: {why}")]
    Foreign { address: Address, why: String },
    #[error("the daemon sent {0}")]
    Frame(#[from] FrameError),
}

impl Client {
    /// A client of the daemon at `address`; connects when something is asked.
    pub(super) fn new(address: Address, tls: Option<tls::Client>) -> Self {
        Self { address, tls }
    }

    /// Asks for something and reads the answer as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<serde_json::Value, ClientError> {
        let request = request(method, path).body(empty()).expect("the path is encoded");
        self.send(request, Some(ANSWER)).await?.json(&self.address).await
    }

    /// Sends JSON and reads the answer as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn tell(
        &self,
        method: Method,
        path: &str,
        json: &serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        let body = Full::from(json.to_string()).map_err(|never| match never {}).boxed_unsync();
        let request = request(method, path).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request.expect("the path is encoded"), Some(ANSWER)).await?.json(&self.address).await
    }

    /// Asks for an answer that streams, and may go on for ever.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn follow(&self, path: &str, accept: &str) -> Result<Answer, ClientError> {
        let request = request(Method::GET, path).header(ACCEPT, accept).body(empty()).expect("the path is encoded");
        self.send(request, Some(ANSWER)).await
    }

    /// Sends a request whose body ends by itself, and waits for as long as the daemon takes: it bounds what it does.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn upload(&self, request: Request<Body>) -> Result<serde_json::Value, ClientError> {
        self.send(request, None).await?.json(&self.address).await
    }

    /// Sends a request whose body and answer stream side by side.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn exchange(&self, request: Request<Body>) -> Result<Answer, ClientError> {
        self.send(request, Some(ANSWER)).await
    }

    /// Asks for a connection that speaks `protocol`. Leaving it is told from ending its writing half: over TCP it is a reset.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn upgrade(&self, path: &str, protocol: &'static str) -> Result<TokioIo<Upgraded>, ClientError> {
        let request = request(Method::POST, path).header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
        let answer = self.send(request.body(empty()).expect("the path is encoded"), Some(ANSWER)).await?;
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.foreign(&"it does not upgrade the connection"));
        }
        let Answer { response, _connection: connection } = answer;
        let upgraded = hyper::upgrade::on(response).await.map_err(|_| ClientError::Broken)?;
        // It has handed the connection over, and ends.
        drop(connection);
        Ok(TokioIo::new(upgraded))
    }

    /// The daemon answered something that it should not.
    pub(super) fn foreign(&self, why: &impl ToString) -> ClientError {
        foreign(&self.address, why)
    }

    /// There is no TLS, because of what the daemon is or does.
    fn insecure(&self, error: &io::Error) -> ClientError {
        let why = tls::explain(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection; does it speak TLS there?".to_owned(),
            _ => sentence(error),
        });
        ClientError::Tls { address: self.address.clone(), why }
    }

    async fn send(&self, mut request: Request<Body>, patience: Option<Duration>) -> Result<Answer, ClientError> {
        let headers = request.headers_mut();
        let host = match &self.address {
            Address::Unix(_) => HeaderValue::from_static("localhost"),
            Address::Tcp { .. } => {
                let authority = self.address.to_string().replacen("tcp://", "", 1);
                HeaderValue::try_from(authority).map_err(|error| self.foreign(&error))?
            }
        };
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("capstan/", env!("CARGO_PKG_VERSION"))));
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let exchange = async {
            let answer = match &self.address {
                Address::Unix(path) => {
                    over(in_time(|| UnixStream::connect(path)).await.map_err(unreachable)?, request).await
                }
                Address::Tcp { host, port } => {
                    let stream = tcp(host, *port).await.map_err(unreachable)?;
                    if request.headers().contains_key(UPGRADE) {
                        let linger = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
                        linger.map_err(|error| unreachable(error.into()))?;
                    }
                    match &self.tls {
                        None => over(stream, request).await,
                        Some(tls) => {
                            let secured = within(tls.connect(host, stream)).await;
                            over(secured.map_err(|error| self.insecure(&error))?, request).await
                        }
                    }
                }
            };
            answer.map_err(|error| match tls::explain(&error) {
                Some(why) => ClientError::Tls { address: self.address.clone(), why },
                None => ClientError::NoAnswer(error),
            })
        };
        let answer = match patience {
            None => exchange.await?,
            Some(patience) => timeout(patience, exchange)
                .await
                .map_err(|_| ClientError::Silent { address: self.address.clone(), patience })??,
        };
        let status = answer.response.status();
        let is_granted = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
        if is_granted { Ok(answer) } else { Err(answer.refusal(&self.address).await) }
    }
}

impl Answer {
    /// The headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes of the body, which is over at `None`. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.response.frame().await {
            if let Ok(data) = frame.map_err(|_| ClientError::Broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    async fn json(self, address: &Address) -> Result<serde_json::Value, ClientError> {
        let body = Limited::new(self.response.into_body(), MAX_JSON).collect().await;
        let bytes = body.map_err(|error| foreign(address, &error))?.to_bytes();
        if bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| foreign(address, &error))
    }

    async fn refusal(self, address: &Address) -> ClientError {
        let status = self.response.status();
        let retry_after = self.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = self.json(address).await.unwrap_or_default();
        refused(address, status, body, retry_after)
    }
}

/// What an answer of `status` and `body` says. A head that is too large is refused before anything of the daemon's own could say so.
fn refused(address: &Address, status: StatusCode, body: serde_json::Value, retry_after: Option<String>) -> ClientError {
    #[derive(Deserialize)]
    struct Body {
        error: Refusal,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
        message: String,
    }
    match (serde_json::from_value(body), status) {
        (Ok(Body { error: Refusal { code, message } }), _) => ClientError::Refused { code, message, retry_after },
        (Err(_), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG) => ClientError::Refused {
            code: "too_large".to_owned(),
            message: "the arguments and variables are more than the daemon takes with a request".to_owned(),
            retry_after,
        },
        (Err(_), status) => foreign(address, &format!("status {status} without a reason")),
    }
}

/// A path with a query, its values encoded here.
pub(super) fn with_query<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> =
        query.into_iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, URL))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The head of a request for `path` of version 1, which must be encoded.
pub(super) fn request(method: Method, path: &str) -> request::Builder {
    Request::builder().method(method).uri(format!("/v1{path}"))
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = in_time(|| TcpStream::connect((host, port))).await?;
    stream.set_nodelay(true)?;
    // A run may be silent for hours; a daemon that is gone is noticed all the same.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60))?;
    Ok(stream)
}

/// Connects within [`CONNECT`]. A unix socket whose queue is full, as at a gate that is still shut, has no room only for now.
async fn in_time<T, F: Future<Output = io::Result<T>>>(connect: impl Fn() -> F) -> io::Result<T> {
    within(async {
        loop {
            match connect().await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(Duration::from_millis(20)).await,
                result => return result,
            }
        }
    })
    .await
}

async fn within<T>(trying: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT, trying)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
}

async fn over<S>(stream: S, request: Request<Body>) -> hyper::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(Patient::new(stream))).await?;
    let mut task = JoinSet::new();
    task.spawn(connection.with_upgrades());
    match sender.send_request(request).await {
        Ok(response) => Ok(Answer { response, _connection: task }),
        // The connection ended before it took the request, and knows of what.
        Err(error) if error.is_canceled() => match task.join_next().await {
            Some(Ok(Err(why))) => Err(why),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn foreign(address: &Address, why: &impl ToString) -> ClientError {
    ClientError::Foreign { address: address.clone(), why: why.to_string() }
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "ask for access to the socket or name another daemon with -H",
        _ => "start it with `capstan daemon` or name another with -H",
    }
}

fn later(retry_after: &Option<String>) -> String {
    retry_after.as_ref().map_or_else(String::new, |seconds| format!("; try again in {seconds} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_daemon_comes_with_a_way_out() {
        let error = |kind| ClientError::Unreachable {
            address: "unix:///s".parse().unwrap(),
            source: io::Error::from_raw_os_error(kind),
        };
        assert_eq!(
            error(2).to_string(),
            "cannot reach the daemon at unix:///s: no such file or directory; \
             start it with `capstan daemon` or name another with -H"
        );
        assert!(error(13).to_string().contains("permission denied; ask for access"));
    }

    #[test]
    fn a_refusal_is_told_in_the_daemons_words_where_it_has_any() {
        let address: Address = "unix:///s".parse().unwrap();
        let said = |status: u16, body| refused(&address, StatusCode::from_u16(status).unwrap(), body, None);
        let body = serde_json::json!({"error": {"code": "unknown_handler", "message": "no handler wc"}});
        assert!(
            matches!(said(404, body), ClientError::Refused { code, message, .. } if code == "unknown_handler" && message == "no handler wc")
        );
        for status in [414, 431] {
            assert!(said(status, serde_json::Value::Null).to_string().contains("arguments and variables"), "{status}");
        }
        assert!(matches!(said(500, serde_json::Value::Null), ClientError::Foreign { .. }));
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(with_query("/jobs", []), "/jobs");
        let query = [("filter", "handler=a&b".to_owned()), ("filter", "ü".to_owned()), ("limit", "3".to_owned())];
        assert_eq!(with_query("/jobs", query), "/jobs?filter=handler%3Da%26b&filter=%C3%BC&limit=3");
    }

    #[test]
    fn a_busy_daemon_says_when_to_come_again() {
        let refused = |retry_after: Option<&str>| {
            let retry_after = retry_after.map(str::to_owned);
            ClientError::Refused { code: "busy".into(), message: "busy".into(), retry_after }.to_string()
        };
        assert_eq!(refused(Some("1")), "busy; try again in 1 s");
        assert_eq!(refused(None), "busy");
    }
}
