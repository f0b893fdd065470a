//! [`Client`]: sends the outbound HTTP requests of one handler, which were allowed before.
//!
//! ```text
//! request ─▶ idle connection of the same origin, or a new one ─▶ head of the response ─▶ body ─▶ idle again
//!                   TCP ─▶ TLS ─▶ HTTP/2 or HTTP/1.1              first byte         between bytes
//! ```
//!
//! A connection carries one request at a time, so that its bytes count for the run that uses it. Whoever drops the future or the body of a
//! request closes its connection. The host follows no redirects, uses no proxy, keeps no cookies and decompresses nothing.

mod body;
mod connect;
mod connection;
mod error;
mod pool;
mod route;
mod tasks;
mod tls;
mod upload;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use self::body::{Lease, ResponseBody};
use self::connection::{Connection, Unsent};
use self::error::to_guest_error;
use self::pool::Pool;
pub(crate) use self::pool::{IdleConnections, Origin};
pub(crate) use self::route::Route;
pub use self::tls::{InvalidRoots, TrustedRoots};
use self::upload::UploadBody;
use super::outgoing::limits;
use crate::network::Meter;

/// How long a connection may take until a request can be sent.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(30);
/// How long a response may take to start, and to continue. The deadline of the run usually comes first.
const MAX_RESPONSE_TIME: Duration = Duration::from_secs(600);

/// Sends the requests of one handler. Dropping it closes its idle connections.
#[derive(Debug)]
pub(crate) struct Client {
    pool: Arc<Pool>,
    roots: TrustedRoots,
}

/// The time limits of one request.
#[derive(Clone, Copy, Debug)]
struct TimeLimits {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Client {
    /// Creates the client of a handler. `idle` counts the idle connections of all handlers.
    pub(crate) fn new(roots: TrustedRoots, idle: IdleConnections) -> Self {
        Self { pool: Arc::new(Pool::new(idle)), roots }
    }

    /// Sends `request` and returns the head of the response, with its body to come.
    ///
    /// Cancel-safe: dropping the future closes the connection.
    ///
    /// # Errors
    /// The error for the guest.
    pub(crate) async fn send(
        &self,
        request: http::Request<WasiBody>,
        route: &Route,
        options: Option<RequestOptions>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let times = TimeLimits::new(options);
        let is_uploaded = Arc::new(AtomicBool::new(false));
        let mut request = request.map(|body| UploadBody::new(body, is_uploaded.clone()));
        let meter = || Meter { network: route.network.clone(), peer: route.peer() };
        loop {
            let (mut connection, is_new) = match self.idle(route).await {
                Some(connection) => {
                    connection.meter.set(meter());
                    (connection, false)
                }
                None => {
                    let connect = connect::connect(route, &self.roots);
                    (timeout(times.connect, connect).await.map_err(|_| Error::ConnectionTimeout)??, true)
                }
            };
            let sent = timeout(times.first_byte, connection.send(request)).await;
            let response = match sent.map_err(|_| Error::HttpResponseTimeout)? {
                Ok(response) => response,
                // The server closed an idle connection, and the request is whole.
                Err(Unsent { request: Some(whole), .. }) if !is_new => {
                    request = *whole;
                    continue;
                }
                Err(Unsent { error, .. }) => return Err(to_guest_error(error)),
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Error::HttpProtocolError);
            }
            limits::check_response(response.headers())?;
            let (mut head, incoming) = response.into_parts();
            super::outgoing::secrets::mask(&mut head.headers, &route.secrets);
            let pool = self.pool.clone();
            let lease = Lease { connection, pool, origin: route.origin.clone(), is_sent: is_uploaded };
            let body = ResponseBody::new(incoming, lease, times.between_bytes, &route.secrets);
            return Ok(http::Response::from_parts(head, WasiBody::new(body)));
        }
    }

    /// Returns an idle connection that this run may use.
    async fn idle(&self, route: &Route) -> Option<Connection> {
        loop {
            let mut connection = self.pool.take(&route.origin)?;
            // Another run of the handler opened it, perhaps with another policy.
            let is_allowed = route.network.may_connect(&route.reach, &route.origin.host, connection.address);
            if is_allowed && connection.is_usable().await {
                return Some(connection);
            }
        }
    }
}

impl TimeLimits {
    /// The shorter ones of those of the guest and those of the host.
    fn new(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let min = |asked: Option<Duration>, max: Duration| asked.map_or(max, |asked| asked.min(max));
        Self {
            connect: min(options.connect_timeout, MAX_CONNECT_TIME),
            first_byte: min(options.first_byte_timeout, MAX_RESPONSE_TIME),
            between_bytes: min(options.between_bytes_timeout, MAX_RESPONSE_TIME),
        }
    }
}
