//! `TimeoutTracker`: how long the client of a connection takes for its next step, and when that is too long.
//!
//! hyper can limit the time for the head of a request, but not the time between requests on its own, nor how long a response waits for
//! its reader. So the times are tracked here, for HTTP/1.1 and HTTP/2 alike. Whether a response waits for its reader shows at its body:
//! hyper asks for the next frame as soon as the connection and the window of the stream have room for it.
//!
//! ```text
//! connected ──▶ Head ──▶ (responding) ──▶ Idle ──▶ Head ──▶ …        each with its own timeout
//!                           └─ each response: frame handed over ──▶ next frame requested ──▶ …
//! ```

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use capstan_engine::job::{Job, JobState};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::body::{Aborted, Body};
use super::http_limits::HttpLimits;
use super::peer::Peer;

/// What the client of a connection did not do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// Send the rest of the head of a request, or the first one.
    Head,
    /// Send the next request.
    Idle,
    /// Read a response.
    Response,
}

/// The kind of a response, which determines how long it may wait for its reader. By default [`ResponseKind::Complete`].
#[derive(Clone, Debug)]
pub(super) enum ResponseKind {
    /// It has an end, and the client requested it in order to read it.
    Complete,
    /// It follows events as they happen.
    Stream,
    /// It follows a run: a client that does not read blocks the guest, for as long as the deadline of the run allows.
    Run(Job),
}

/// Tracks the timeouts of one connection.
#[derive(Debug)]
pub(super) struct TimeoutTracker {
    limits: HttpLimits,
    peer: Arc<Peer>,
    progress: Mutex<ConnectionProgress>,
}

#[derive(Debug)]
struct ConnectionProgress {
    /// What the client does next, while there is no response.
    phase: Phase,
    phase_started: Instant,
    is_http2: bool,
    /// Those that are not finished. HTTP/1.1 has one at a time, and HTTP/2 as many as it may have streams.
    responses: Vec<ResponseProgress>,
    /// Whether all responses so far are finished and written. What hyper writes then is its own.
    is_between_responses: bool,
    next_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Idle,
    /// The client sends no more requests, but must still read what was answered.
    Closing,
}

#[derive(Debug)]
struct ResponseProgress {
    id: u64,
    kind: ResponseKind,
    /// When hyper was handed the last frame.
    last_frame: Option<Instant>,
    /// Whether hyper has had room for another frame since.
    wants_frame: bool,
}

impl TimeoutTracker {
    /// Starts with a connection that was accepted just now.
    pub(super) fn new(limits: HttpLimits, peer: Arc<Peer>) -> Arc<Self> {
        let progress = ConnectionProgress {
            phase: Phase::Head,
            phase_started: Instant::now(),
            is_http2: false,
            responses: Vec::new(),
            is_between_responses: true,
            next_id: 0,
        };
        Arc::new(Self { limits, peer, progress: Mutex::new(progress) })
    }

    pub(super) fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Returns whether no response is in progress, over HTTP/1.1.
    pub(super) fn is_between_responses(&self) -> bool {
        self.progress().is_between_responses
    }

    /// Records that everything is written that hyper had to write.
    pub(super) fn record_flush(&self) {
        let mut progress = self.progress();
        progress.is_between_responses = progress.responses.is_empty();
    }

    /// Records that the connection speaks HTTP/2, where input is not always a request, and heads may arrive between responses.
    pub(super) fn set_http2(&self) {
        let mut progress = self.progress();
        progress.is_http2 = true;
        progress.enter(Phase::Idle);
    }

    /// Records that input has arrived.
    pub(super) fn record_input(&self) {
        let mut progress = self.progress();
        if !progress.is_http2 && progress.phase == Phase::Idle && progress.responses.is_empty() {
            progress.enter(Phase::Head);
        }
    }

    /// Records that the connection takes no more requests.
    pub(super) fn set_closing(&self) {
        self.progress().enter(Phase::Closing);
    }

    /// Returns whether the client is between two requests, and has sent nothing of the next one.
    pub(super) fn is_idle(&self) -> bool {
        let progress = self.progress();
        progress.phase == Phase::Idle && progress.responses.is_empty()
    }

    /// Starts a response, which lasts until the returned value and the body made with it are dropped.
    pub(super) fn start_response(self: &Arc<Self>) -> ActiveResponse {
        let mut progress = self.progress();
        progress.is_between_responses = false;
        let id = progress.next_id;
        progress.next_id += 1;
        let response = ResponseProgress { id, kind: ResponseKind::Complete, last_frame: None, wants_frame: true };
        progress.responses.push(response);
        ActiveResponse { tracker: self.clone(), id }
    }

    /// Waits until the client has exceeded a timeout, and returns which. Cancel-safe.
    pub(super) async fn expired(&self) -> Timeout {
        loop {
            let now = Instant::now();
            // A step that starts after this check cannot expire before the next one.
            let next_check = now + self.limits.shortest_timeout();
            let wake = match self.next_deadline(now) {
                Some((timeout, deadline)) if deadline <= now => return timeout,
                Some((_, deadline)) => deadline.min(next_check),
                None => next_check,
            };
            tokio::time::sleep_until(wake).await;
        }
    }

    /// Returns the timeout that expires first, and when.
    fn next_deadline(&self, now: Instant) -> Option<(Timeout, Instant)> {
        let (mut progress, limits) = (self.progress(), &self.limits);
        if progress.responses.is_empty() {
            let (timeout, duration) = match progress.phase {
                Phase::Head => (Timeout::Head, limits.head_timeout),
                Phase::Idle => (Timeout::Idle, limits.idle_timeout),
                Phase::Closing => (Timeout::Response, limits.answer_timeout),
            };
            return Some((timeout, progress.phase_started + duration));
        }
        let is_flushed = progress.is_http2 || self.peer.is_flushed();
        let deadline =
            progress.responses.iter_mut().filter_map(|response| response.deadline(limits, is_flushed, now)).min();
        deadline.map(|deadline| (Timeout::Response, deadline))
    }

    fn progress(&self) -> MutexGuard<'_, ConnectionProgress> {
        self.progress.lock().expect("no panic while the lock is held")
    }
}

impl ConnectionProgress {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.phase_started) = (phase, Instant::now());
    }
}

impl ResponseProgress {
    /// Returns until when the client must read; `None` where the next step is not the client's.
    fn deadline(&mut self, limits: &HttpLimits, is_flushed: bool, now: Instant) -> Option<Instant> {
        let last_frame = self.last_frame.filter(|_| !self.wants_frame || !is_flushed)?;
        match &self.kind {
            ResponseKind::Complete => Some(last_frame + limits.answer_timeout),
            ResponseKind::Stream => Some(last_frame + limits.stream_timeout),
            ResponseKind::Run(job) if matches!(job.state(), JobState::Done(_)) => {
                // No timeout applied while the run lasted, so the time starts now.
                (self.kind, self.last_frame) = (ResponseKind::Stream, Some(now));
                Some(now + limits.stream_timeout)
            }
            ResponseKind::Run(_) => None,
        }
    }
}

/// Sets the kind of a response.
pub(super) fn set_response_kind(response: &mut Response<Body>, kind: ResponseKind) {
    response.extensions_mut().insert(kind);
}

/// A response that is not finished.
#[derive(Debug)]
pub(super) struct ActiveResponse {
    tracker: Arc<TimeoutTracker>,
    id: u64,
}

impl ActiveResponse {
    /// Tracks the body of `response` until it is read, or dropped.
    pub(super) fn track(self, mut response: Response<Body>) -> Response<Body> {
        if let Some(kind) = response.extensions_mut().remove() {
            self.update(|progress| progress.kind = kind);
        }
        response.map(|body| TrackedBody { body, response: self }.boxed_unsync())
    }

    fn update(&self, update: impl FnOnce(&mut ResponseProgress)) {
        let mut progress = self.tracker.progress();
        if let Some(response) = progress.responses.iter_mut().find(|response| response.id == self.id) {
            update(response);
        }
    }
}

impl Drop for ActiveResponse {
    fn drop(&mut self) {
        let mut progress = self.tracker.progress();
        progress.responses.retain(|response| response.id != self.id);
        if progress.responses.is_empty() {
            let phase = if progress.phase == Phase::Closing { Phase::Closing } else { Phase::Idle };
            progress.enter(phase);
        }
    }
}

/// A body that reports its progress to the [`TimeoutTracker`].
struct TrackedBody {
    body: Body,
    response: ActiveResponse,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let tracked = self.get_mut();
        let polled = Pin::new(&mut tracked.body).poll_frame(cx);
        let is_frame = matches!(polled, Poll::Ready(Some(Ok(_))));
        tracked.response.update(|progress| {
            progress.wants_frame = !is_frame;
            if is_frame {
                progress.last_frame = Some(Instant::now());
            }
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
