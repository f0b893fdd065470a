//! The state of a fan-out, which its writer, its sinks and its taps share.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncWrite;

use super::queue::Queue;
use crate::stream::pipe::Sink;

/// Maximum number of bytes that the sinks get at a time.
const PIECE: usize = 16 << 10;
/// Maximum number of errors to keep. Readers may come and go without end, and the first errors are enough.
const MAX_ERRORS: usize = 100;

/// A reference to the state. Clones refer to the same state.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedState(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// The number of sinks that were ever added.
    added: usize,
    pub(super) sinks: Vec<SinkEntry>,
    /// The bytes that the sinks are writing. Empty when all sinks have written them.
    pub(super) piece: Vec<u8>,
    pub(super) errors: Vec<SinkError>,
    pub(super) queues: Vec<Queue>,
    /// The number of the latest tap.
    pub(super) last_tap: u64,
    /// Whether the stream has ended.
    pub(super) is_ended: bool,
}

/// A sink, with its progress in the current piece.
#[derive(Debug)]
pub(super) struct SinkEntry {
    sink: Sink,
    number: usize,
    /// Bytes of the current piece that it has written.
    piece_written: usize,
    /// Bytes that it has written in total.
    total_written: u64,
}

/// A sink failed and did not get the rest of its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sink {number} failed after {taken} bytes: {message}")]
pub struct SinkError {
    /// The position in the order of addition, from 1.
    pub number: usize,
    /// Bytes that the sink wrote before.
    pub taken: u64,
    pub kind: io::ErrorKind,
    pub message: String,
}

impl SharedState {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }

    /// Ends the stream: drops the sinks and wakes the readers.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_ended = true;
        let readers = state.queues.iter_mut().filter_map(Queue::take_reader).collect();
        let sinks = std::mem::take(&mut state.sinks);
        drop(state);
        drop(sinks);
        wake(readers);
    }
}

/// Wakes `readers`. To be called without the lock.
pub(super) fn wake(readers: Vec<Waker>) {
    readers.into_iter().for_each(Waker::wake);
}

impl State {
    pub(super) fn add_sink(&mut self, sink: Sink) {
        self.added += 1;
        let entry = SinkEntry { sink, number: self.added, piece_written: self.piece.len(), total_written: 0 };
        self.sinks.push(entry);
    }

    /// Pushes `bytes` to the queues and makes them the current piece of the sinks, or as many of them as fit into a piece. Returns their
    /// number, and the readers to wake.
    pub(super) fn start_piece(&mut self, bytes: &[u8]) -> (usize, Vec<Waker>) {
        let size = if self.sinks.is_empty() { bytes.len() } else { bytes.len().min(PIECE) };
        if !self.sinks.is_empty() {
            self.piece.extend_from_slice(&bytes[..size]);
            self.sinks.iter_mut().for_each(|entry| entry.piece_written = 0);
        }
        let mut readers = Vec::new();
        for queue in &mut self.queues {
            queue.push(&bytes[..size]);
            readers.extend(queue.take_reader());
        }
        (size, readers)
    }

    /// Returns `Ready` when every sink has written the piece or failed.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let piece = std::mem::take(&mut self.piece);
        let polled = self.poll_entries(|entry| entry.poll_write_piece(cx, &piece));
        self.piece = piece;
        polled
    }

    /// Returns `Ready` when `poll` has returned it for every sink. Removes sinks that fail.
    pub(super) fn poll_sinks(&mut self, mut poll: impl FnMut(Pin<&mut Sink>) -> Poll<io::Result<()>>) -> Poll<()> {
        self.poll_entries(|entry| poll(Pin::new(&mut entry.sink)))
    }

    fn poll_entries(&mut self, mut poll: impl FnMut(&mut SinkEntry) -> Poll<io::Result<()>>) -> Poll<()> {
        let (mut polled, errors) = (Poll::Ready(()), &mut self.errors);
        self.sinks.retain_mut(|entry| match poll(entry) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                if errors.len() < MAX_ERRORS {
                    errors.push(entry.error(&error));
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

impl SinkEntry {
    fn poll_write_piece(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<()>> {
        while self.piece_written < piece.len() {
            match ready!(Pin::new(&mut self.sink).poll_write(cx, &piece[self.piece_written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                size => {
                    self.piece_written += size;
                    self.total_written += size as u64;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn error(&self, error: &io::Error) -> SinkError {
        SinkError { number: self.number, taken: self.total_written, kind: error.kind(), message: error.to_string() }
    }
}
