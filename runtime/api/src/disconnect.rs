//! An answer that goes on while something does, and the client that it is for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::CancelledBy;
use capstan_engine::job::Job;
use http_body_util::BodyExt as _;
use hyper::Version;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::body::{Abort, Body};
use super::peer::{self, Presence};
use super::request::Request;

/// How often it is looked whether the client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// Where an answer is written to, piece by piece; each waits until the client has taken the one before it.
pub(super) type Pieces = mpsc::Sender<Result<Frame<Bytes>, Abort>>;

/// The client of one request.
#[derive(Debug)]
pub(super) struct Client {
    connection: Option<Arc<Presence>>,
    is_answered_in_chunks: bool,
}

/// Cancels a run when it is dropped: its client has left. Does nothing to a run that has ended.
#[derive(Debug)]
pub(super) struct Leave(Job);

impl Client {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            // HTTP/2 tells by itself that a client has left, and its connection is not of this request alone.
            connection: (request.head.version < Version::HTTP_2).then(|| request.presence.clone()),
            is_answered_in_chunks: request.is_answered_in_chunks(),
        }
    }

    /// An answer to this client of unknown length. Dropping it, and `guard` with it, is what a client that leaves comes to.
    pub(super) fn answer(self, guard: impl Send + 'static) -> (Pieces, Body) {
        let (pieces, received) = mpsc::channel(1);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let live =
            Live { client: self, pieces: received, look, probed: false, aborted: false, _guard: Box::new(guard) };
        (pieces, live.boxed_unsync())
    }
}

impl Leave {
    pub(super) fn of(job: &Job) -> Self {
        Self(job.clone())
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.cancel(CancelledBy::Client);
    }
}

struct Live {
    client: Client,
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Abort>>,
    look: Interval,
    probed: bool,
    aborted: bool,
    _guard: Box<dyn Send>,
}

impl HttpBody for Live {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let live = self.get_mut();
        if let Some(connection) = &live.client.connection
            && connection.probe(false)
        {
            // The wish was taken back before anything was sent: the client is still to be asked.
            live.probed = false;
        }
        if !live.aborted {
            match live.pieces.poll_recv(cx) {
                Poll::Ready(Some(Err(Abort))) => live.aborted = true,
                Poll::Ready(piece) => {
                    if let Some(connection) = &live.client.connection {
                        connection.sending();
                    }
                    return Poll::Ready(piece);
                }
                Poll::Pending => return live.poll_client(cx),
            }
        }
        // hyper throws away what it has not written yet when a body fails.
        ready!(live.poll_sent(cx));
        Poll::Ready(Some(Err(Abort)))
    }
}

impl Live {
    /// Looks whether the client is there, for as long as there is nothing for it.
    fn poll_client<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Abort>>> {
        let Some(connection) = &self.client.connection else { return Poll::Pending };
        while self.look.poll_tick(cx).is_ready() {
            match connection.client() {
                peer::Client::There => {}
                peer::Client::Gone => return Poll::Ready(Some(Err(Abort))),
                peer::Client::SaidAll if self.client.is_answered_in_chunks && !self.probed => {
                    self.probed = true;
                    connection.probe(true);
                }
                peer::Client::SaidAll => {}
            }
        }
        Poll::Pending
    }

    fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(connection) = &self.client.connection else { return Poll::Ready(()) };
        if !self.client.is_answered_in_chunks {
            connection.reset_when_closed();
        }
        connection.poll_sent(cx)
    }
}
