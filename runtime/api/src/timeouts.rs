//! `Pace`: how long the client of a connection takes for what is its turn, and when that is too long.
//!
//! hyper bounds the time of a head, but neither the one between requests by itself nor the one that an answer waits for its reader. So
//! the time is kept here, for HTTP/1.1 and HTTP/2 alike. Whether an answer waits shows at its body: hyper asks for the next piece as
//! soon as there is room for it, on the connection and in the window of the stream.
//!
//! ```text
//! connected ──▶ Head ──▶ (answering) ──▶ Idle ──▶ Head ──▶ …        each a time of its own
//!                           └─ each answer: handed over ──▶ asked for more ──▶ …
//! ```

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use capstan_engine::job::{Job, JobState};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::body::{Abort, Body};
use super::bounds::Bounds;
use super::peer::Presence;

/// What the client of a connection is too late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The head of a request that it has begun, or the first one.
    Head,
    /// The next request.
    Idle,
    /// Reading what it is answered.
    Reader,
}

/// What an answer is, which says how long it may wait for its reader. [`Reading::Whole`] where an answer does not say.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// It has an end, and was asked for to be read.
    Whole,
    /// It follows what happens.
    Follows,
    /// It follows a run: whoever does not read holds the guest back, for as long as the run's own deadline allows.
    Run(Job),
}

/// The pace of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    bounds: Bounds,
    presence: Arc<Presence>,
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Clock {
    /// What the client's turn is, where nothing is being answered.
    turn: Turn,
    since: Instant,
    is_http2: bool,
    answers: HashMap<u64, Reader>,
    /// The number of the next answer.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Head,
    Idle,
    /// Nothing more will be asked: what was answered is still to be taken.
    End,
}

/// The reader of one answer.
#[derive(Debug)]
struct Reader {
    reading: Reading,
    /// When it was handed the last piece.
    handed: Option<Instant>,
    /// Whether there has been room for another since.
    asked: bool,
}

impl Pace {
    /// Of a connection that begins now.
    pub(super) fn new(bounds: Bounds, presence: Arc<Presence>) -> Arc<Self> {
        let (turn, since) = (Turn::Head, Instant::now());
        let clock = Clock { turn, since, is_http2: false, answers: HashMap::new(), next: 0 };
        Arc::new(Self { bounds, presence, clock: Mutex::new(clock) })
    }

    /// Notes that it is HTTP/2, where a connection says more than requests, and heads of requests may come between answers.
    pub(super) fn is_http2(&self) {
        let mut clock = self.clock();
        clock.is_http2 = true;
        clock.turn(Turn::Idle);
    }

    /// Notes that something has come.
    pub(super) fn received(&self) {
        let mut clock = self.clock();
        if !clock.is_http2 && clock.turn == Turn::Idle && clock.answers.is_empty() {
            clock.turn(Turn::Head);
        }
    }

    /// Notes that nothing more will be asked.
    pub(super) fn ends(&self) {
        self.clock().turn(Turn::End);
    }

    /// Whether the client is between two requests, and has said nothing of the next.
    pub(super) fn is_idle(&self) -> bool {
        let clock = self.clock();
        clock.turn == Turn::Idle && clock.answers.is_empty()
    }

    /// Begins an answer, which goes on until what comes of it is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut clock = self.clock();
        let number = clock.next;
        clock.next += 1;
        clock.answers.insert(number, Reader { reading: Reading::Whole, handed: None, asked: true });
        Answering { pace: self.clone(), number }
    }

    /// Waits until the client is too late with something. Cancel-safe.
    pub(super) async fn late(&self) -> Late {
        loop {
            let now = Instant::now();
            // What begins after this look is not late before the next.
            let next = now + self.bounds.shortest();
            let wake = match self.due(now) {
                Some((late, due)) if due <= now => return late,
                Some((_, due)) => due.min(next),
                None => next,
            };
            tokio::time::sleep_until(wake).await;
        }
    }

    /// What the client will be too late with first, and when.
    fn due(&self, now: Instant) -> Option<(Late, Instant)> {
        let (mut clock, bounds) = (self.clock(), &self.bounds);
        if clock.answers.is_empty() {
            let (late, timeout) = match clock.turn {
                Turn::Head => (Late::Head, bounds.head_timeout),
                Turn::Idle => (Late::Idle, bounds.idle_timeout),
                Turn::End => (Late::Reader, bounds.answer_timeout),
            };
            return Some((late, clock.since + timeout));
        }
        let is_flushed = clock.is_http2 || self.presence.is_flushed();
        let due = clock.answers.values_mut().filter_map(|reader| reader.due(bounds, is_flushed, now)).min();
        due.map(|due| (Late::Reader, due))
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().expect("no panic while the lock is held")
    }
}

impl Clock {
    fn turn(&mut self, turn: Turn) {
        (self.turn, self.since) = (turn, Instant::now());
    }
}

impl Reader {
    fn due(&mut self, bounds: &Bounds, is_flushed: bool, now: Instant) -> Option<Instant> {
        let handed = self.handed.filter(|_| !self.asked || !is_flushed)?;
        match &self.reading {
            Reading::Whole => Some(handed + bounds.answer_timeout),
            Reading::Follows => Some(handed + bounds.stream_timeout),
            Reading::Run(job) if matches!(job.state(), JobState::Done(_)) => {
                // Whoever was patient with the run has its time from now on.
                (self.reading, self.handed) = (Reading::Follows, Some(now));
                Some(now + bounds.stream_timeout)
            }
            Reading::Run(_) => None,
        }
    }
}

/// Says what `response` is to its reader.
pub(super) fn read_as(response: &mut Response<Body>, reading: Reading) {
    response.extensions_mut().insert(reading);
}

/// An answer that goes on.
#[derive(Debug)]
pub(super) struct Answering {
    pace: Arc<Pace>,
    number: u64,
}

impl Answering {
    /// Keeps the pace of `response` until it is taken, or given up.
    pub(super) fn with(self, mut response: Response<Body>) -> Response<Body> {
        if let Some(reading) = response.extensions_mut().remove() {
            self.note(|reader| reader.reading = reading);
        }
        response.map(|body| Paced { body, answering: self }.boxed_unsync())
    }

    fn note(&self, note: impl FnOnce(&mut Reader)) {
        if let Some(reader) = self.pace.clock().answers.get_mut(&self.number) {
            note(reader);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut clock = self.pace.clock();
        clock.answers.remove(&self.number);
        if clock.answers.is_empty() {
            let turn = if clock.turn == Turn::End { Turn::End } else { Turn::Idle };
            clock.turn(turn);
        }
    }
}

/// A body whose reader is watched.
struct Paced {
    body: Body,
    answering: Answering,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let paced = self.get_mut();
        let polled = Pin::new(&mut paced.body).poll_frame(cx);
        let handed = matches!(polled, Poll::Ready(Some(Ok(_))));
        paced.answering.note(|reader| {
            reader.asked = !handed;
            if handed {
                reader.handed = Some(Instant::now());
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
