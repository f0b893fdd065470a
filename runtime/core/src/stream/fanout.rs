//! [`FanOut`]: copies one stream to many readers. No reader can spoil the stream for another.
//!
//! Every sink and every tap gets what is written. They differ in what happens when one is too slow:
//!
//! | reader | added by | when it is too slow |
//! |---|---|---|
//! | a [`Sink`] | [`FanOut::add`] | the writer waits for it; the other readers already have the bytes |
//! | a [`Tap`] with [`LagPolicy::Drop`] | [`FanOut::tap`] | the oldest bytes in its queue are dropped, and it reads how many |
//! | a [`Tap`] with [`LagPolicy::Evict`] | [`FanOut::tap`] | it is removed |
//!
//! A sink that fails is removed. [`FanOut::errors`] reports its error; the writer does not notice it. Sinks and taps can be added and
//! removed at any time. Without any, what is written is discarded. A fan-out spawns no task.

mod queue;
mod state;
mod tap;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use self::queue::Queue;
pub use self::queue::{Evicted, LagPolicy, Piece};
pub use self::state::SinkError;
use self::state::{SharedState, wake};
pub use self::tap::{ForwardError, Tap};
use super::pipe::Sink;

/// A stream with many readers. Clones refer to the same stream.
#[derive(Clone, Debug, Default)]
pub struct FanOut(SharedState);

/// The end of a fan-out that is written to. Dropping it ends the stream.
#[derive(Debug)]
struct Writer(SharedState);

impl FanOut {
    /// Creates a stream without readers, and the sink that writes to it.
    pub fn new() -> (Self, Sink) {
        let fan_out = Self::default();
        let sink = Sink::new(Writer(fan_out.0.clone()));
        (fan_out, sink)
    }

    /// Adds a sink for what is written from now on. The end of the stream drops it, which closes it. If the stream has already ended, the
    /// sink is dropped immediately.
    pub fn add(&self, sink: Sink) {
        let mut state = self.0.lock();
        if !state.is_ended {
            state.add_sink(sink);
        }
    }

    /// Adds a reader of what is written from now on, with a queue of at most `capacity` bytes.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn tap(&self, policy: LagPolicy, capacity: usize) -> Tap {
        assert!(capacity > 0, "the capacity of a tap must be at least 1");
        let mut state = self.0.lock();
        state.last_tap += 1;
        let number = state.last_tap;
        state.queues.push(Queue::new(number, policy, capacity));
        Tap::new(self.0.clone(), number)
    }

    /// Returns the number of sinks and taps, without those that failed or were evicted.
    pub fn reader_count(&self) -> usize {
        let state = self.0.lock();
        state.sinks.len() + state.queues.iter().filter(|queue| !queue.is_evicted()).count()
    }

    /// Returns the errors of the first 100 sinks that failed, in the order of failure.
    pub fn errors(&self) -> Vec<SinkError> {
        self.0.lock().errors.clone()
    }
}

impl AsyncWrite for Writer {
    /// Returns `Ready` when every sink has the bytes. The bytes count as written even if the writer gives up before.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut state = self.0.lock();
            if state.is_ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if state.piece.is_empty() {
                let (size, readers) = state.start_piece(bytes);
                let has_sinks = !state.piece.is_empty();
                drop(state);
                wake(readers);
                if !has_sinks {
                    return Poll::Ready(Ok(size));
                }
                state = self.0.lock();
            }
            ready!(state.poll_piece(cx));
            let written = bytes.starts_with(&state.piece).then_some(state.piece.len());
            state.piece.clear();
            if let Some(size) = written {
                return Poll::Ready(Ok(size));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.poll_piece(cx));
        state.poll_sinks(|sink| sink.poll_flush(cx)).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.poll_piece(cx));
        ready!(state.poll_sinks(|sink| sink.poll_shutdown(cx)));
        drop(state);
        self.0.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
