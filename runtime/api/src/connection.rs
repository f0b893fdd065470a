//! One connection: HTTP/1.1, or HTTP/2 by agreement or prior knowledge, under limits; each of its requests goes to the router.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use capstan_engine::tasks::Tasks;
use capstan_listen::listener::Stream;
use capstan_listen::tls;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::allowed_hosts::Names;
use super::body::Body;
use super::bounds::Bounds;
use super::cors;
use super::error::Error;
use super::handshake;
use super::peer::{Presence, Wire};
use super::request::Request;
use super::router;
use super::startup_queue::Porch;
use super::timeouts::{Answering, Late, Pace};
use super::upgrade::Afterwards;

/// Bytes that hyper buffers in each direction of a connection, and of what has come for each stream of HTTP/2.
const BUFFER: u32 = 64 << 10;
/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Streams that a client of HTTP/2 may reset before they were looked at, and that it may make the daemon reset; beyond these the
/// connection ends.
const RESETS_UNSEEN: usize = 20;
const RESETS_FORCED: usize = 1024;
/// How long a client that has said nothing yet has to speak up once the daemon stops.
const LAST_WORD: Duration = Duration::from_millis(100);
/// How long a client may take for what it is told instead of being served.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where a connection came from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The names that it is served under; on a unix socket any.
    pub(super) names: Option<Names>,
    /// Where its requests wait, if it came before the gate was open.
    pub(super) porch: Option<Porch>,
}

/// How a connection ended.
enum Ended {
    /// By what the client did, or was answered.
    Itself,
    /// Between two requests, because it was idle for too long or the daemon stops.
    Idle,
    Late(Late),
}

/// Serves the requests of a connection until it ends, and what it is upgraded to by the last of them. Once `draining` is cancelled, the
/// last is the one that goes on.
pub(crate) async fn serve(
    api: Arc<Api>,
    stream: Stream,
    tls: Option<Arc<tls::Server>>,
    mut origin: Origin,
    draining: CancellationToken,
) {
    let Some(stream) = handshake::secured(stream, tls.as_deref(), &mut origin.names).await else { return };
    let (presence, bounds) = (Presence::new(stream), api.settings.http);
    tracing::debug!(caller = %presence.caller(), "connected");
    let pace = Pace::new(bounds, presence.clone());
    let Some(is_http2) = greeted(&presence, &pace, &draining).await else { return presence.leave() };
    let (tasks, origin, afterwards) = (api.tasks.clone(), Arc::new(origin), Afterwards::default());
    let service = service_fn({
        let (presence, pace, afterwards) = (presence.clone(), pace.clone(), afterwards.clone());
        // The answer begins with the call, and not when it is first looked at.
        move |request| answer(api.clone(), origin.clone(), presence.clone(), pace.begin(), afterwards.clone(), request)
    });
    let io = TokioIo::new(Wire::new(presence.clone(), pace.clone()));
    let ended = if is_http2 {
        pace.is_http2();
        let connection = http2(&bounds, tasks).serve_connection(io, service);
        until_drained(connection, |connection| connection.graceful_shutdown(), &pace, &draining).await
    } else {
        let connection = http1(&bounds).serve_connection(io, service).with_upgrades();
        until_drained(connection, |connection| connection.graceful_shutdown(), &pace, &draining).await
    };
    if let Some(session) = afterwards.take() {
        session.await;
        return presence.close().await;
    }
    match ended {
        Ended::Itself => presence.close().await,
        Ended::Idle => presence.leave(),
        Ended::Late(late) => {
            tracing::debug!(?late, "a client took too long");
            if late == Late::Head && !is_http2 {
                return tell_and_leave(&presence, Error::too_slow("the head of the request did not come in time"))
                    .await;
            }
            presence.reset_when_closed();
        }
    }
}

/// Whether the client begins as HTTP/2 does; `None` where it leaves, or is too late, before that is clear.
async fn greeted(presence: &Presence, pace: &Pace, draining: &CancellationToken) -> Option<bool> {
    let last_word = async {
        draining.cancelled().await;
        tokio::time::sleep(LAST_WORD).await;
    };
    tokio::select! {
        biased;
        is_http2 = speaks_http2(presence) => is_http2,
        _ = pace.late() => None,
        () = last_word => None,
    }
}

async fn until_drained<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    pace: &Pace,
    draining: &CancellationToken,
) -> Ended {
    let mut connection = pin!(connection);
    let (mut drains, mut ending) = (false, Ended::Itself);
    loop {
        tokio::select! {
            // A request that is there already is read first, so that whoever sent it is answered and not just cut off.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended in the middle of something");
                    return Ended::Itself;
                }
                return ending;
            }
            () = draining.cancelled(), if !drains => drains = true,
            late = pace.late() => match late {
                Late::Idle => {}
                late => return Ended::Late(late),
            },
        }
        if pace.is_idle() {
            ending = Ended::Idle;
            pace.ends();
        }
        shut_down(connection.as_mut());
    }
}

async fn answer(
    api: Arc<Api>,
    origin: Arc<Origin>,
    presence: Arc<Presence>,
    answering: Answering,
    afterwards: Afterwards,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let varies = origin.names.is_some() && api.settings.callers.has_pages();
    let (mut allowed, mut page) = (Ok(()), None);
    match origin.names.as_ref().map(|names| names.check(&head)) {
        Some(Ok(listed)) => page = listed,
        Some(Err(error)) => allowed = Err(error),
        None => {}
    }
    if let (Ok(()), Some(porch)) = (&allowed, &origin.porch) {
        allowed = porch.pass(&head, &presence).await;
    }
    let request = Request { head, body, name: String::new(), presence, afterwards };
    let mut response = router::call(api, request, allowed).await;
    if varies {
        cors::vary(&mut response);
    }
    if let Some(page) = page {
        page.allow(&mut response);
    }
    Ok(answering.with(response))
}

/// Tells a client that its address has all the connections that it may have.
pub(super) async fn refuse(stream: Stream) {
    tell_and_leave(&Presence::new(stream), Error::busy("too many connections come from this address")).await;
}

async fn tell_and_leave(presence: &Presence, error: Error) {
    // Who does not listen is not waited for.
    let _ = tokio::time::timeout(PATIENCE, presence.send(error.into_text().as_bytes())).await;
    presence.leave();
}

/// Whether what comes is the beginning of HTTP/2; `None` where the client leaves before that is clear.
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

fn http1(bounds: &Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // It is kept by `Pace`: hyper's would be the time between two requests as well.
        .header_read_timeout(None)
        .max_headers(bounds.headers)
        .max_header_size(bounds.head as usize)
        .max_buf_size(BUFFER.max(bounds.head) as usize)
        // Whether the client is still there is watched by `Presence`.
        .half_close(true);
    builder
}

fn http2(bounds: &Bounds, tasks: Tasks) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(tasks));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(bounds.streams)
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(RESETS_FORCED)
        .max_header_list_size(bounds.head)
        .max_send_buf_size(BUFFER as usize)
        .initial_stream_window_size(BUFFER)
        .initial_connection_window_size(1 << 20);
    builder
}

/// Runs what hyper does on the side of a connection as tasks that the API owns.
#[derive(Clone, Debug)]
struct Tracked(Tasks);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("api", "part of an HTTP/2 connection", future);
    }
}
