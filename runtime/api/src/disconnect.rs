//! Streamed responses, which notice when their client disconnects.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::CancelledBy;
use capstan_engine::job::Job;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use hyper::Version;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::body::{Aborted, Body};
use super::peer::{Peer, PeerState};
use super::request::Request;

/// How often a waiting response checks whether its client is still there.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A part of a streamed response. An error cuts it.
pub(super) type FrameResult = Result<Frame<Bytes>, Aborted>;

/// Writes a streamed response. Each frame waits until the client has read the one before it.
pub(super) type FrameSender = mpsc::Sender<FrameResult>;

/// The client of one request.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` for HTTP/2.
    peer: Option<Arc<Peer>>,
    is_response_chunked: bool,
}

/// Cancels a run on drop, because its client has disconnected. Has no effect on a run that has ended.
#[derive(Debug)]
pub(super) struct CancelOnDisconnect(Job);

impl Client {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            // HTTP/2 reports a disconnected client itself, and its connection is shared by other requests.
            peer: (request.head.version < Version::HTTP_2).then(|| request.peer.clone()),
            is_response_chunked: request.is_response_chunked(),
        }
    }

    /// Waits until the client has disconnected. Waits forever over HTTP/2, which reports that itself. Cancel-safe.
    pub(super) async fn disconnected(&self) {
        let Some(peer) = &self.peer else { return std::future::pending().await };
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !matches!(peer.state(), PeerState::Disconnected) {
            check.tick().await;
        }
    }

    /// Creates the body of a response of unknown length, which a task writes. When the client disconnects, the body is dropped.
    pub(super) fn channel_response(self) -> (FrameSender, Body) {
        let (sender, mut frames) = mpsc::channel(1);
        (sender, self.stream_response((), stream::poll_fn(move |cx| frames.poll_recv(cx))))
    }

    /// Creates the body of a response of unknown length. Whenever the connection has room, it sends the next of `frames`, without a task or
    /// a queue in between. When the client disconnects, the body is dropped, and `guard` and `frames` with it.
    pub(super) fn stream_response(
        self,
        guard: impl Send + 'static,
        frames: impl Stream<Item = FrameResult> + Send + 'static,
    ) -> Body {
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let frames = Box::pin(frames);
        let (is_probed, is_aborted) = (false, false);
        StreamingBody { client: self, frames, check, is_probed, is_aborted, _guard: guard }.boxed_unsync()
    }
}

impl CancelOnDisconnect {
    pub(super) fn new(job: &Job) -> Self {
        Self(job.clone())
    }
}

impl Drop for CancelOnDisconnect {
    fn drop(&mut self) {
        self.0.cancel(CancelledBy::Client);
    }
}

struct StreamingBody<F, G> {
    client: Client,
    frames: Pin<Box<F>>,
    check: Interval,
    is_probed: bool,
    is_aborted: bool,
    _guard: G,
}

/// The guard is never pinned.
impl<F, G> Unpin for StreamingBody<F, G> {}

impl<F: Stream<Item = FrameResult>, G> HttpBody for StreamingBody<F, G> {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        let body = self.get_mut();
        if let Some(peer) = &body.client.peer
            && peer.set_probe(false)
        {
            // The probe was withdrawn before it was sent, so the client has yet to be probed.
            body.is_probed = false;
        }
        if !body.is_aborted {
            match body.frames.as_mut().poll_next(cx) {
                Poll::Ready(Some(Err(Aborted))) => body.is_aborted = true,
                Poll::Ready(frame) => {
                    if let Some(peer) = &body.client.peer {
                        peer.set_sending();
                    }
                    return Poll::Ready(frame);
                }
                Poll::Pending => return body.poll_disconnect(cx),
            }
        }
        // hyper discards what it has not written yet when a body fails.
        ready!(body.poll_flushed(cx));
        Poll::Ready(Some(Err(Aborted)))
    }
}

impl<F, G> StreamingBody<F, G> {
    /// Checks regularly whether the client is still there, while there is nothing to send.
    fn poll_disconnect<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Aborted>>> {
        let Some(peer) = &self.client.peer else { return Poll::Pending };
        while self.check.poll_tick(cx).is_ready() {
            match peer.state() {
                PeerState::Connected => {}
                PeerState::Disconnected => return Poll::Ready(Some(Err(Aborted))),
                PeerState::HalfClosed if self.client.is_response_chunked && !self.is_probed => {
                    self.is_probed = true;
                    peer.set_probe(true);
                }
                PeerState::HalfClosed => {}
            }
        }
        Poll::Pending
    }

    fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(peer) = &self.client.peer else { return Poll::Ready(()) };
        if !self.client.is_response_chunked {
            peer.reset_on_close();
        }
        peer.poll_flushed(cx)
    }
}
