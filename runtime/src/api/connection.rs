//! One connection: HTTP/1.1, or HTTP/2 by agreement or prior knowledge, under limits; each of its requests goes to the router.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Api;
use super::body::Body;
use super::caller::Names;
use super::held::Porch;
use super::request::Request;
use super::router;
use super::secure;
use super::upgrade::Afterwards;
use super::wire::{Presence, Wire};
use crate::listener::Stream;
use crate::tls;

/// How long a client may take for the head of a request. Default 10 s; it is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the head of a request, with everything in it; more is answered with 431.
const HEAD_SIZE: u32 = 16 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes that hyper buffers in each direction of a connection.
const BUFFER: u32 = 64 << 10;
/// Requests that an HTTP/2 connection may make at a time.
const STREAMS: u32 = 64;

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where a connection came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The names that it is served under; on a unix socket any.
    pub(super) names: Option<Names>,
    /// Where its requests wait, if it came before the gate was open.
    pub(super) porch: Option<Porch>,
}

/// Serves the requests of a connection until it ends, and what it is upgraded to by the last of them. Once `draining` is cancelled, the
/// last is the one that goes on.
pub(super) async fn serve(
    api: Arc<Api>,
    stream: Stream,
    tls: Option<Arc<tls::Server>>,
    mut origin: Origin,
    draining: CancellationToken,
) {
    let Some(stream) = secure::secured(stream, tls.as_deref(), &mut origin.names).await else { return };
    let presence = Presence::new(stream);
    tracing::debug!(caller = %presence.caller(), "connected");
    let Ok(Some(is_http2)) = tokio::time::timeout(HEAD_TIMEOUT, speaks_http2(&presence)).await else { return };
    let tasks = api.tasks.clone();
    let afterwards = Afterwards::default();
    let service = service_fn({
        let (presence, afterwards) = (presence.clone(), afterwards.clone());
        move |request| answer(api.clone(), origin.clone(), presence.clone(), afterwards.clone(), request)
    });
    let io = TokioIo::new(Wire::new(presence.clone()));
    let ended = if is_http2 {
        let connection = http2(tasks).serve_connection(io, service);
        until_drained(connection, |connection| connection.graceful_shutdown(), &draining).await
    } else {
        let connection = http1().serve_connection(io, service).with_upgrades();
        until_drained(connection, |connection| connection.graceful_shutdown(), &draining).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle of something");
    }
    if let Some(session) = afterwards.take() {
        session.await;
    }
    presence.close().await;
}

async fn until_drained<C: Future>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    draining: &CancellationToken,
) -> C::Output {
    let mut connection = pin!(connection);
    tokio::select! {
        // A request that is there already is read first, so that whoever sent it is answered and not just cut off.
        biased;
        ended = connection.as_mut() => return ended,
        () = draining.cancelled() => shut_down(connection.as_mut()),
    }
    connection.await
}

async fn answer(
    api: Arc<Api>,
    origin: Origin,
    presence: Arc<Presence>,
    afterwards: Afterwards,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut allowed = origin.names.map_or(Ok(()), |names| names.check(&head));
    if let (Ok(()), Some(porch)) = (&allowed, origin.porch) {
        allowed = porch.pass(&head, &presence).await;
    }
    let request = Request { head, body, name: String::new(), presence, afterwards };
    Ok(router::call(api, request, allowed).await)
}

/// Whether the client begins as HTTP/2 does; `None` where it leaves before that is clear.
async fn speaks_http2(presence: &Presence) -> Option<bool> {
    if let Some(agreed) = presence.agreed_on_http2().await {
        return Some(agreed);
    }
    let mut buffer = [0; PREFACE.len()];
    loop {
        let seen = presence.peek(&mut buffer).await.ok().filter(|seen| *seen > 0)?;
        if buffer[..seen] != PREFACE[..seen] {
            return Some(false);
        }
        if seen == PREFACE.len() {
            return Some(true);
        }
        // What has come is still there to be read, so there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS)
        .max_header_size(HEAD_SIZE as usize)
        .max_buf_size(BUFFER as usize)
        // Whether the client is still there is watched by `Presence`.
        .half_close(true);
    builder
}

fn http2(tasks: TaskTracker) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(tasks));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(HEAD_TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_SIZE)
        .max_send_buf_size(BUFFER as usize)
        .initial_stream_window_size(BUFFER)
        .initial_connection_window_size(1 << 20);
    builder
}

/// Runs what hyper does on the side of a connection as tasks that the API owns.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
