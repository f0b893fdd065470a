//! [`OutputLog`]: what a job has printed to stdout and stderr, in the order it was written, with times.
//!
//! A log has a limit, and writing never waits: the oldest output is dropped. A [`Follower`] is a position in the log. It reads stored and new
//! output in the same way. A follower that reads too slowly gets the number of bytes that it missed, and never delays the job.

mod chunks;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use capstan_core::outcome::OutputStream;
use capstan_core::secret::Redaction;
use jiff::Timestamp;
use tokio::sync::watch;

use self::chunks::{Chunks, MAX_CHUNK};
use crate::budget::ByteBudget;
use crate::recorded_stream::{RecordedStream, Recording};

/// The bytes that the output of one job takes at most.
pub const LOG_SIZE: usize = 1 << 20;
/// The bytes that a log may take even if all logs together exceed their budget.
const MIN_LOG_SIZE: usize = 64 << 10;

/// The output of a job. Clones are the same log.
#[derive(Clone, Debug)]
pub struct OutputLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: Arc<ByteBudget>,
    state: Mutex<State>,
    /// Counts changes. Followers wait for the next.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    chunks: Chunks,
    writers: usize,
    /// Whether the chunks count against the budget.
    is_charged: bool,
}

/// Writes one stream to a log. When all writers are dropped, the log is complete.
pub type Writer = RecordedStream<OutputLog>;

/// A position in a log.
#[derive(Debug)]
pub struct Follower {
    log: OutputLog,
    position: u64,
    changes: watch::Receiver<u64>,
}

/// What a follower reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Output {
        stream: OutputStream,
        /// When the first byte of its chunk was written.
        at: Timestamp,
        bytes: Bytes,
    },
    /// Bytes that were dropped before they were read.
    Gap { missed: u64 },
}

/// The result of [`Follower::try_next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Piece(Piece),
    /// Everything was read, and more may follow.
    Pending,
    /// Everything was read, and the log is complete.
    End,
}

impl OutputLog {
    /// Returns an empty log that counts against `budget`.
    pub(crate) fn new(budget: Arc<ByteBudget>) -> Self {
        let state = State { chunks: Chunks::default(), writers: 0, is_charged: true };
        Self(Arc::new(Inner { budget, state: Mutex::new(state), changes: watch::Sender::new(0) }))
    }

    /// Returns a writer for `stream`.
    pub fn writer(&self, stream: OutputStream) -> Writer {
        self.new_writer(stream, None)
    }

    /// Returns a writer for `stream` that removes secrets.
    pub(crate) fn redacting_writer(&self, stream: OutputStream, redaction: &Redaction) -> Writer {
        self.new_writer(stream, Some(redaction))
    }

    fn new_writer(&self, stream: OutputStream, redaction: Option<&Redaction>) -> Writer {
        self.lock().writers += 1;
        RecordedStream::new(self.clone(), stream, redaction)
    }

    /// Returns a follower that reads from the beginning.
    pub fn follow(&self) -> Follower {
        self.follow_from(0)
    }

    /// Returns a follower that reads the last `lines` lines of `streams` that were written at `since` or later, and all output after them.
    pub fn follow_last(&self, lines: Option<u64>, since: Option<Timestamp>, streams: &[OutputStream]) -> Follower {
        let state = self.lock();
        let by_time = since.map_or(0, |since| state.chunks.position_at(since));
        let by_lines = lines.map_or(0, |lines| state.chunks.position_of_last_lines(lines, streams));
        drop(state);
        self.follow_from(by_time.max(by_lines))
    }

    fn follow_from(&self, position: u64) -> Follower {
        Follower { log: self.clone(), position, changes: self.0.changes.subscribe() }
    }

    /// Stops counting the log against its budget.
    pub(crate) fn discharge(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_charged, false) {
            self.0.budget.subtract(state.chunks.size());
        }
    }

    fn is_too_large(&self, state: &State) -> bool {
        let size = state.chunks.size();
        size > LOG_SIZE || (size > MIN_LOG_SIZE && state.is_charged && self.0.budget.is_exceeded())
    }

    fn notify(&self) {
        self.0.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().expect("no panic while the lock is held");
        if state.is_charged {
            self.budget.subtract(state.chunks.size());
        }
    }
}

impl Follower {
    /// Returns the next piece, of at most 16 KiB.
    pub fn try_next(&mut self) -> Next {
        let state = self.log.lock();
        if self.position == state.chunks.written() {
            return if state.writers == 0 { Next::End } else { Next::Pending };
        }
        let first = state.chunks.first_position();
        if self.position < first {
            let missed = first - self.position;
            self.position = first;
            return Next::Piece(Piece::Gap { missed });
        }
        let (chunk, bytes) = state.chunks.get(self.position);
        self.position += bytes.len() as u64;
        Next::Piece(Piece::Output { stream: chunk.stream, at: chunk.at, bytes: Bytes::copy_from_slice(bytes) })
    }

    /// Waits for the next piece. Returns `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Piece> {
        loop {
            self.changes.mark_unchanged();
            match self.try_next() {
                Next::Piece(piece) => return Some(piece),
                Next::End => return None,
                Next::Pending => self.changes.changed().await.expect("the follower holds the sender"),
            }
        }
    }
}

impl Recording for OutputLog {
    fn write(&self, stream: OutputStream, mut bytes: &[u8]) {
        let now = Timestamp::now();
        let mut state = self.lock();
        let size_before = state.chunks.size();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(bytes.len().min(MAX_CHUNK));
            state.chunks.append(stream, now, chunk);
            bytes = rest;
        }
        let full_size = state.chunks.size();
        if state.is_charged {
            self.0.budget.add(full_size - size_before);
        }
        while self.is_too_large(&state) {
            state.chunks.drop_oldest();
        }
        if state.is_charged {
            self.0.budget.subtract(full_size - state.chunks.size());
        }
        drop(state);
        self.notify();
    }

    fn end_stream(&self) {
        self.lock().writers -= 1;
        self.notify();
    }
}

#[cfg(test)]
mod tests;
