//! One connection: speaks HTTP/1.1, or HTTP/2 by ALPN or prior knowledge, and passes each request to the router.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use capstan_engine::tasks::Tasks;
use capstan_listen::listener::Stream;
use capstan_listen::tls;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::allowed_hosts::ServedNames;
use super::api::Api;
use super::body::Body;
use super::cors;
use super::error::Error;
use super::handshake;
use super::http_limits::HttpLimits;
use super::peer::Peer;
use super::peer::hyper_io::PeerIo;
use super::request::Request;
use super::router;
use super::session::SessionSlot;
use super::startup_queue::StartupQueue;
use super::surface::Surface;
use super::timeouts::{ActiveResponse, Timeout, TimeoutTracker};

/// Bytes that hyper buffers at most in each direction of an HTTP/1.1 connection. It allocates as much only for a client that sends or is sent
/// as much at a time.
const HTTP1_BUFFER: u32 = 256 << 10;
/// Bytes that hyper buffers of each HTTP/2 stream in each direction.
const HTTP2_STREAM_BUFFER: u32 = 64 << 10;
/// Bytes of input that an HTTP/2 connection buffers for all of its streams.
const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;
/// How often an HTTP/2 client is pinged, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that an HTTP/2 client may reset before they were accepted, and streams that it may cause the daemon to reset. Beyond these
/// the connection ends.
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 1024;
/// How long a client that has sent nothing yet has for its first request once the daemon stops.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// How long a client may take to read why it is not served.
const REJECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the input of a client is checked that has sent a part of [`PREFACE`].
const PREFACE_INTERVAL: Duration = Duration::from_millis(5);

/// How many times the limit a head over HTTP/2 may have for its client to get a response that explains it.
const HTTP2_HEAD_FACTOR: u32 = 4;

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What depends on how a connection was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The names that its requests may use. `None` where they may use any: on a unix socket, and for claimed routes, which name their hosts.
    pub(super) names: Option<ServedNames>,
    /// Where its requests wait for the gate. `None` for a connection that was accepted after the gate opened.
    pub(super) startup_queue: Option<StartupQueue>,
    pub(super) surface: Surface,
}

/// How HTTP on a connection ended.
enum ConnectionEnd {
    /// By the client, by a response, or by an error of the protocol.
    Closed,
    /// Between two requests, because it was idle for too long or the daemon stops.
    Idle,
    TimedOut(Timeout),
}

/// Serves the requests of a connection until it ends, and then the session that the last of them upgraded it to.
///
/// Once `draining` is cancelled, the connection ends after the request in progress.
pub(crate) async fn serve(
    api: Arc<Api>,
    stream: Stream,
    tls: Option<Arc<tls::Server>>,
    mut accepted: Accepted,
    draining: CancellationToken,
) {
    let Some(stream) = handshake::accept_tls(stream, tls.as_deref(), &mut accepted.names).await else { return };
    let (peer, limits) = (Peer::new(stream), api.state.settings.http_limits);
    tracing::debug!(caller = %peer.caller(), "connected");
    let timeouts = TimeoutTracker::new(limits, peer.clone());
    let Some(is_http2) = detect_http2(&peer, &timeouts, &draining).await else { return peer.close_now() };
    let (tasks, accepted, session_slot) = (api.state.tasks.clone(), Arc::new(accepted), SessionSlot::default());
    let service = service_fn({
        let (peer, timeouts, session_slot) = (peer.clone(), timeouts.clone(), session_slot.clone());
        // The response starts with this call, and not when its future is first polled.
        move |request| {
            let response = timeouts.start_response();
            respond(api.clone(), accepted.clone(), peer.clone(), response, session_slot.clone(), request)
        }
    });
    let io = TokioIo::new(PeerIo::new(peer.clone(), timeouts.clone()));
    let end = if is_http2 {
        timeouts.set_http2();
        let connection = http2(&limits, tasks).serve_connection(io, service);
        run_until_drained(connection, |connection| connection.graceful_shutdown(), &timeouts, &draining).await
    } else {
        let connection = http1(&limits).serve_connection(io, service).with_upgrades();
        run_until_drained(connection, |connection| connection.graceful_shutdown(), &timeouts, &draining).await
    };
    if let Some(session) = session_slot.take() {
        session.await;
        return peer.close().await;
    }
    match end {
        ConnectionEnd::Closed => peer.close().await,
        ConnectionEnd::Idle => peer.close_now(),
        ConnectionEnd::TimedOut(timeout) => {
            tracing::debug!(?timeout, "a client took too long");
            if timeout == Timeout::Head && !is_http2 {
                let limit = limits.head_timeout.as_secs_f64();
                let message = format!("the head of the request did not arrive within {limit} s (http.head_timeout)");
                return reject(&peer, Error::too_slow(message)).await;
            }
            peer.reset_on_close();
        }
    }
}

/// Returns whether the client speaks HTTP/2; `None` where it disconnects or times out before that is clear.
async fn detect_http2(peer: &Peer, timeouts: &TimeoutTracker, draining: &CancellationToken) -> Option<bool> {
    let drained = async {
        draining.cancelled().await;
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
    };
    tokio::select! {
        biased;
        is_http2 = speaks_http2(peer) => is_http2,
        _ = timeouts.expired() => None,
        () = drained => None,
    }
}

async fn run_until_drained<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    timeouts: &TimeoutTracker,
    draining: &CancellationToken,
) -> ConnectionEnd {
    let mut connection = pin!(connection);
    let (mut is_draining, mut end) = (false, ConnectionEnd::Closed);
    loop {
        tokio::select! {
            // A request that has arrived already is read first, so that its client gets a response and is not just cut off.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended within a request");
                    return ConnectionEnd::Closed;
                }
                return end;
            }
            () = draining.cancelled(), if !is_draining => is_draining = true,
            timeout = timeouts.expired() => match timeout {
                Timeout::Idle => {}
                timeout => return ConnectionEnd::TimedOut(timeout),
            },
        }
        if timeouts.is_idle() {
            end = ConnectionEnd::Idle;
            timeouts.set_closing();
        }
        shut_down(connection.as_mut());
    }
}

async fn respond(
    api: Arc<Api>,
    accepted: Arc<Accepted>,
    peer: Arc<Peer>,
    active_response: ActiveResponse,
    session_slot: SessionSlot,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let varies_by_origin = accepted.names.is_some() && api.state.settings.allowed_hosts.has_origins();
    let (mut admitted, mut allowed_origin) = (Ok(()), None);
    match accepted.names.as_ref().map(|names| names.check(&head)) {
        Some(Ok(origin)) => allowed_origin = origin,
        Some(Err(error)) => admitted = Err(error),
        None => {}
    }
    if head.version == Version::HTTP_2 && admitted.is_ok() && is_too_large(&head, &api.state.settings.http_limits) {
        admitted = Err(Error::head_too_large(&api.state.settings.http_limits));
    }
    if let (Ok(()), Some(queue)) = (&admitted, &accepted.startup_queue) {
        admitted = queue.wait(&head, &peer).await;
    }
    let request = Request { head, body, path_parameter: String::new(), peer, session_slot };
    let mut response = router::call(api.state.clone(), &api.request_counts, request, admitted, accepted.surface).await;
    if varies_by_origin {
        cors::vary_by_origin(&mut response);
    }
    if let Some(origin) = allowed_origin {
        origin.allow(&mut response);
    }
    Ok(active_response.track(response))
}

/// Answers a client whose address has reached the limit of connections, and closes its connection.
pub(super) async fn reject_over_limit(stream: Stream, limit: usize) {
    let message = format!("this address has {limit} connections, which is the limit (http.connections_per_peer)");
    reject(&Peer::new(stream), Error::busy(message)).await;
}

async fn reject(peer: &Peer, error: Error) {
    // A client that does not read must not keep the connection open.
    let _ = tokio::time::timeout(REJECT_TIMEOUT, peer.send(error.into_text().as_bytes())).await;
    peer.close_now();
}

/// Returns whether the input starts like HTTP/2; `None` where the client disconnects before that is clear.
async fn speaks_http2(peer: &Peer) -> Option<bool> {
    if let Some(is_http2) = peer.negotiated_http2().await {
        return Some(is_http2);
    }
    let mut buffer = [0; PREFACE.len()];
    loop {
        let length = peer.peek(&mut buffer).await.ok().filter(|length| *length > 0)?;
        if buffer[..length] != PREFACE[..length] {
            return Some(false);
        }
        if length == PREFACE.len() {
            return Some(true);
        }
        // The input was not removed, so the socket stays readable, and readiness does not show that more has arrived.
        tokio::time::sleep(PREFACE_INTERVAL).await;
    }
}

/// Returns whether the head of a request over HTTP/2 exceeds the limits. Counts as HTTP/2 does: 32 bytes for each field, besides its text.
fn is_too_large(head: &Parts, limits: &HttpLimits) -> bool {
    const FIELD: usize = 32;
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields + target > limits.head as usize || head.headers.len() > limits.headers
}

fn http1(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `TimeoutTracker` limits it: hyper's limit would also apply to the time between two requests.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_header_size(limits.head as usize)
        .max_buf_size(HTTP1_BUFFER.max(limits.head) as usize)
        // `Peer` checks whether the client is still there.
        .half_close(true);
    builder
}

fn http2(limits: &HttpLimits, tasks: Tasks) -> http2::Builder<TaskExecutor> {
    let mut builder = http2::Builder::new(TaskExecutor(tasks));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        // `is_too_large` applies the limit itself, with a response that names it.
        .max_header_list_size(limits.head.saturating_mul(HTTP2_HEAD_FACTOR))
        .max_send_buf_size(HTTP2_STREAM_BUFFER as usize)
        .initial_stream_window_size(HTTP2_STREAM_BUFFER)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
    builder
}

/// Spawns the tasks of hyper as tasks of the API.
#[derive(Clone, Debug)]
struct TaskExecutor(Tasks);

impl<F> hyper::rt::Executor<F> for TaskExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("api", "part of an HTTP/2 connection", future);
    }
}
