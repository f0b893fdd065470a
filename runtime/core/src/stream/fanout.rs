//! `FanOut`: one stream to many, none of which can spoil it for another.
//!
//! What is written goes to every sink and every tap. They differ in what happens when one does not keep up:
//!
//! - *block*: a [`Sink`] that was added with [`FanOut::add`] holds the writer back until it has taken what was written. The others have
//!   it by then;
//! - *drop*: a [`Tap`] with [`Policy::Drop`] has a queue; what does not fit pushes out the oldest, and its reader is told how much;
//! - *evict*: a [`Tap`] with [`Policy::Evict`] is taken out when its queue is full.
//!
//! A sink that fails is taken out whatever it is, and its error is told beside ([`FanOut::errors`]): the writer does not hear of it.
//! Sinks and taps come and go while the stream goes on; without any, what is written goes nowhere. There is no task in it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncWrite;

use super::Sink;
use super::tap::{Policy, Queue, Tap};

/// Bytes that sinks are given at a time.
const PIECE: usize = 16 << 10;
/// How many errors are kept: of readers that come and leave for ever, the first tell enough.
const MOST_ERRORS: usize = 100;

/// A stream to many; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct FanOut(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
pub(super) struct Inside {
    /// How many sinks were added.
    added: usize,
    sinks: Vec<Taking>,
    /// What the sinks are taking; empty where they have all.
    piece: Vec<u8>,
    errors: Vec<SinkError>,
    pub(super) queues: Vec<Queue>,
    /// The number of the last tap.
    last_tap: u64,
    /// Whether all was written.
    pub(super) ended: bool,
}

/// A sink on its way through a piece.
#[derive(Debug)]
struct Taking {
    sink: Sink,
    number: usize,
    /// Bytes of the piece that it has.
    of_piece: usize,
    /// Bytes that it has in all.
    taken: u64,
}

/// A sink failed, and did not get the rest of its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sink {number} failed after {taken} bytes: {message}")]
pub struct SinkError {
    /// Which it was, 1 for the first that was added.
    pub number: usize,
    /// Bytes that it had taken.
    pub taken: u64,
    pub kind: io::ErrorKind,
    pub message: String,
}

/// The end of a fan-out that is written to; dropping it is the end of the stream.
#[derive(Debug)]
struct Writer(FanOut);

impl FanOut {
    /// A stream to nobody yet, and the one sink that is written to.
    pub fn new() -> (Self, Sink) {
        let fan_out = Self::default();
        let sink = Sink::new(Writer(fan_out.clone()));
        (fan_out, sink)
    }

    /// Adds a sink for what is written from now on. It is dropped, and with that closed, at the end of the stream; at once where that
    /// has come.
    pub fn add(&self, sink: Sink) {
        let mut inside = self.lock();
        if inside.ended {
            return;
        }
        inside.added += 1;
        let taking = Taking { sink, number: inside.added, of_piece: inside.piece.len(), taken: 0 };
        inside.sinks.push(taking);
    }

    /// Adds a reader of what is written from now on, with a queue of at most `capacity` bytes.
    ///
    /// # Panics
    /// Where `capacity` is 0.
    pub fn tap(&self, policy: Policy, capacity: usize) -> Tap {
        assert!(capacity > 0, "a queue without room takes nothing");
        let mut inside = self.lock();
        inside.last_tap += 1;
        let number = inside.last_tap;
        inside.queues.push(Queue::new(number, policy, capacity));
        Tap::new(self.clone(), number)
    }

    /// How many sinks and taps there are. One that has failed or was evicted is none.
    pub fn readers(&self) -> usize {
        let inside = self.lock();
        inside.sinks.len() + inside.queues.iter().filter(|queue| !queue.is_evicted()).count()
    }

    /// The first hundred sinks that have failed, in the order in which they did.
    pub fn errors(&self) -> Vec<SinkError> {
        self.lock().errors.clone()
    }

    fn end(&self) {
        let mut inside = self.lock();
        inside.ended = true;
        let readers = inside.queues.iter_mut().filter_map(Queue::take_reader).collect();
        let sinks = std::mem::take(&mut inside.sinks);
        drop(inside);
        drop(sinks);
        wake(readers);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

fn wake(readers: Vec<Waker>) {
    readers.into_iter().for_each(Waker::wake);
}

impl Inside {
    /// Puts `bytes` into the queues, and makes as much of them the piece as sinks are given at a time. Gives how much that was.
    fn begin(&mut self, bytes: &[u8]) -> (usize, Vec<Waker>) {
        let size = if self.sinks.is_empty() { bytes.len() } else { bytes.len().min(PIECE) };
        if !self.sinks.is_empty() {
            self.piece.extend_from_slice(&bytes[..size]);
            self.sinks.iter_mut().for_each(|taking| taking.of_piece = 0);
        }
        let mut readers = Vec::new();
        for queue in &mut self.queues {
            queue.put(&bytes[..size]);
            readers.extend(queue.take_reader());
        }
        (size, readers)
    }

    /// Ready once every sink has the piece, or has failed.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let piece = std::mem::take(&mut self.piece);
        let polled = self.poll_sinks(|taking| taking.poll_take(cx, &piece));
        self.piece = piece;
        polled
    }

    /// Ready once `poll` is, of every sink. Those that fail are taken out.
    fn poll_sinks(&mut self, mut poll: impl FnMut(&mut Taking) -> Poll<io::Result<()>>) -> Poll<()> {
        let (mut polled, errors) = (Poll::Ready(()), &mut self.errors);
        self.sinks.retain_mut(|taking| match poll(taking) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                if errors.len() < MOST_ERRORS {
                    errors.push(taking.error(&error));
                }
                false
            }
            Poll::Pending => {
                polled = Poll::Pending;
                true
            }
        });
        polled
    }
}

impl Taking {
    fn poll_take(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<()>> {
        while self.of_piece < piece.len() {
            match ready!(Pin::new(&mut self.sink).poll_write(cx, &piece[self.of_piece..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                size => {
                    self.of_piece += size;
                    self.taken += size as u64;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn error(&self, error: &io::Error) -> SinkError {
        SinkError { number: self.number, taken: self.taken, kind: error.kind(), message: error.to_string() }
    }
}

impl AsyncWrite for Writer {
    /// Ready once every sink has what was written. Who gives up before has written it all the same.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut inside = self.0.lock();
            if inside.ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if inside.piece.is_empty() {
                let (size, readers) = inside.begin(bytes);
                let to_sinks = !inside.piece.is_empty();
                drop(inside);
                wake(readers);
                if !to_sinks {
                    return Poll::Ready(Ok(size));
                }
                inside = self.0.lock();
            }
            ready!(inside.poll_piece(cx));
            let written = bytes.starts_with(&inside.piece).then_some(inside.piece.len());
            inside.piece.clear();
            if let Some(size) = written {
                return Poll::Ready(Ok(size));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.0.lock();
        ready!(inside.poll_piece(cx));
        inside.poll_sinks(|taking| Pin::new(&mut taking.sink).poll_flush(cx)).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.0.lock();
        ready!(inside.poll_piece(cx));
        ready!(inside.poll_sinks(|taking| Pin::new(&mut taking.sink).poll_shutdown(cx)));
        drop(inside);
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
