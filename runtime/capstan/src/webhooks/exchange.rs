//! One request over HTTP/1.1, on a connection of its own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use capstan_sandbox::Resolver;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Webhook;

/// Bytes that are kept of the body of a response.
const MAX_BODY: usize = 4 << 10;

/// What a receiver has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The first bytes of the body; empty after a success.
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("cannot look up {host}: {source}")]
    Lookup { host: String, source: io::Error },
    #[error("cannot connect to {to}: {source}")]
    Connect { to: String, source: io::Error },
    #[error("no TLS with {to}: {source}")]
    Tls { to: String, source: io::Error },
    #[error("{to} did not answer: {source}")]
    Http { to: String, source: hyper::Error },
}

/// Sends `request` to the receiver of `webhook`. There is no timeout. Dropping the future closes the connection.
///
/// # Errors
/// [`ExchangeError`]
pub(super) async fn send(
    webhook: &Webhook,
    resolver: &Resolver,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ExchangeError> {
    let endpoint = &webhook.config.endpoint;
    let (host, to) = (&endpoint.host, || endpoint.to_string());
    let addresses = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = resolver.lookup(host).await;
            found.map_err(|source| ExchangeError::Lookup { host: host.clone(), source })?
        }
    };
    let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, endpoint.port)).collect();
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.map_err(|source| ExchangeError::Connect { to: to(), source })?;
    let answer = match &webhook.tls {
        None => exchange(stream, request).await,
        Some(tls) => {
            let stream = tls.connect(host, stream).await.map_err(|source| ExchangeError::Tls { to: to(), source })?;
            exchange(stream, request).await
        }
    };
    answer.map_err(|source| ExchangeError::Http { to: to(), source })
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await?;
        Ok(read(response).await)
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection has ended. What it has received is still there, or its error.
        _ = connection => answer.await,
    }
}

/// Reads the beginning of the body, unless the status is all that counts. A body that breaks off is as long as it came.
async fn read(response: Response<Incoming>) -> Answer {
    let (status, mut rest) = (response.status(), response.into_body());
    let mut body = BytesMut::new();
    while !status.is_success()
        && body.len() < MAX_BODY
        && let Some(Ok(frame)) = rest.frame().await
    {
        let data = frame.into_data().unwrap_or_default();
        body.extend_from_slice(&data[..data.len().min(MAX_BODY - body.len())]);
    }
    Answer { status, body: body.freeze() }
}
