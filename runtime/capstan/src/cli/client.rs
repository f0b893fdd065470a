//! `Client`: HTTP requests to one daemon, over its unix socket or TCP, with one connection per request.
//!
//! [`connect`] makes the connections, [`early_response`] keeps responses that arrive before the request is sent, [`response`] reads them,
//! and [`error`] says why a request failed.

mod connect;
mod early_response;
mod error;
mod response;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use capstan_listen::listener::Address;
use capstan_listen::tls;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE, USER_AGENT};
use hyper::http::request;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::early_response::EarlyResponseStream;
pub(super) use self::error::ClientError;
pub(super) use self::response::Response;
use super::io_error;

/// How long the daemon may take to send the head of a response, also while it is still starting.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is percent-encoded in a path or a query: everything but the unreserved characters of RFC 3986.
pub(super) const URL_ENCODE_SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An HTTP client of one daemon.
#[derive(Clone, Debug)]
pub(super) struct Client {
    address: Address,
    /// The TLS configuration for TCP. `None` for plain HTTP.
    tls: Option<tls::Client>,
}

impl Client {
    /// Returns a client of the daemon at `address`. It connects when it sends a request.
    pub(super) fn new(address: Address, tls: Option<tls::Client>) -> Self {
        Self { address, tls }
    }

    /// Sends a request without a body and reads the response as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn call(&self, method: Method, path: &str) -> Result<Value, ClientError> {
        let request = request(method, path).body(empty_body()).expect("the path is encoded");
        self.send(request, Some(RESPONSE_TIMEOUT)).await?.json(&self.address).await
    }

    /// Sends a request with a JSON body and reads the response as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn call_with_json(&self, method: Method, path: &str, json: &Value) -> Result<Value, ClientError> {
        let body = Full::from(json.to_string()).map_err(|never| match never {}).boxed_unsync();
        let request = request(method, path).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request.expect("the path is encoded"), Some(RESPONSE_TIMEOUT)).await?.json(&self.address).await
    }

    /// Sends a GET request whose response is a stream, which may never end.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn open_stream(&self, path: &str, accept: &str) -> Result<Response, ClientError> {
        let request = request(Method::GET, path).header(ACCEPT, accept).body(empty_body());
        self.send(request.expect("the path is encoded"), Some(RESPONSE_TIMEOUT)).await
    }

    /// Sends a request whose body ends by itself and reads the response as JSON. It waits without a timeout: the daemon limits how long it
    /// works on an upload.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn upload(&self, request: Request<Body>) -> Result<Value, ClientError> {
        self.send(request, None).await?.json(&self.address).await
    }

    /// Sends a request whose body and response are streamed at the same time.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn exchange(&self, request: Request<Body>) -> Result<Response, ClientError> {
        self.send(request, Some(RESPONSE_TIMEOUT)).await
    }

    /// Opens a connection that speaks `protocol`.
    ///
    /// Over TCP, dropping the connection resets it. The daemon can therefore tell a client that disconnects from one that has only
    /// ended its input.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn upgrade(&self, path: &str, protocol: &'static str) -> Result<TokioIo<Upgraded>, ClientError> {
        let request = request(Method::POST, path).header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
        let request = request.body(empty_body()).expect("the path is encoded");
        let response = self.send(request, Some(RESPONSE_TIMEOUT)).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.unexpected_response(&"it does not upgrade the connection"));
        }
        response.into_upgraded().await
    }

    /// Returns the error of a response that a daemon of this version does not send.
    pub(super) fn unexpected_response(&self, reason: &impl ToString) -> ClientError {
        ClientError::unexpected_response(&self.address, reason)
    }

    /// Returns the error of a failed TLS handshake.
    fn tls_error(&self, error: &io::Error) -> ClientError {
        let reason = tls::explain(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection; check that this address uses TLS".to_owned(),
            _ => io_error::describe(error),
        });
        ClientError::Tls { address: self.address.clone(), reason }
    }

    /// Sends a request and waits for the head of its response, at most `response_timeout`.
    async fn send(
        &self,
        mut request: Request<Body>,
        response_timeout: Option<Duration>,
    ) -> Result<Response, ClientError> {
        let headers = request.headers_mut();
        headers.insert(HOST, self.host_header()?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("capstan/", env!("CARGO_PKG_VERSION"))));
        let exchange = self.connect_and_send(request);
        let response = match response_timeout {
            None => exchange.await?,
            Some(limit) => timeout(limit, exchange)
                .await
                .map_err(|_| ClientError::ResponseTimeout { address: self.address.clone(), timeout: limit })??,
        };
        let status = response.status();
        let is_error = !status.is_success() && status != StatusCode::SWITCHING_PROTOCOLS;
        if is_error { Err(response.into_error(&self.address).await) } else { Ok(response) }
    }

    fn host_header(&self) -> Result<HeaderValue, ClientError> {
        match &self.address {
            Address::Unix(_) => Ok(HeaderValue::from_static("localhost")),
            Address::Tcp { .. } => {
                let authority = self.address.to_string().replacen("tcp://", "", 1);
                HeaderValue::try_from(authority).map_err(|error| self.unexpected_response(&error))
            }
        }
    }

    async fn connect_and_send(&self, request: Request<Body>) -> Result<Response, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let response = match &self.address {
            Address::Unix(path) => send_over(connect::connect_unix(path).await.map_err(unreachable)?, request).await,
            Address::Tcp { host, port } => {
                let stream = connect::connect_tcp(host, *port).await.map_err(unreachable)?;
                if request.headers().contains_key(UPGRADE) {
                    let linger = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
                    linger.map_err(|error| unreachable(error.into()))?;
                }
                match &self.tls {
                    None => send_over(stream, request).await,
                    Some(tls) => {
                        let stream = connect::with_timeout(tls.connect(host, stream)).await;
                        send_over(stream.map_err(|error| self.tls_error(&error))?, request).await
                    }
                }
            }
        };
        response.map_err(|error| match tls::explain(&error) {
            Some(reason) => ClientError::Tls { address: self.address.clone(), reason },
            None => ClientError::NoResponse(error),
        })
    }
}

/// Appends a query to an encoded path. Encodes the values; the names must need no encoding.
pub(super) fn with_query<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = query
        .into_iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, URL_ENCODE_SET)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Starts a request for an encoded `path` of version 1 of the API.
pub(super) fn request(method: Method, path: &str) -> request::Builder {
    Request::builder().method(method).uri(format!("/v1{path}"))
}

/// Returns the body of a request without content.
pub(super) fn full_body(bytes: Bytes) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body without bytes.
pub(super) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn send_over<S>(stream: S, request: Request<Body>) -> hyper::Result<Response>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(EarlyResponseStream::new(stream))).await?;
    let mut task = JoinSet::new();
    task.spawn(connection.with_upgrades());
    match sender.send_request(request).await {
        Ok(response) => Ok(Response::new(response, task)),
        // The connection ended before it took the request. Its own error has the reason.
        Err(error) if error.is_canceled() => match task.join_next().await {
            Some(Ok(Err(reason))) => Err(reason),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_percent_encoded() {
        assert_eq!(with_query("/jobs", []), "/jobs");
        let query = [("filter", "handler=a&b".to_owned()), ("filter", "ü".to_owned()), ("limit", "3".to_owned())];
        assert_eq!(with_query("/jobs", query), "/jobs?filter=handler%3Da%26b&filter=%C3%BC&limit=3");
    }
}
