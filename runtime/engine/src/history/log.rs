//! `Log`: what a job has printed, stdout and stderr in the order they were written, with times.
//!
//! It is bounded, and writing never waits: the oldest is dropped. A [`Follower`] is a place in the log, so that what was kept and what
//! comes are read in the same way; one that reads too slowly is told how much it missed, and holds nobody back.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use capstan_core::outcome::OutputStream;
use capstan_core::secret::{Redaction, Redactor};
use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWrite;
use tokio::sync::watch;

use super::budget::Budget;

/// Bytes that one job's output may take.
pub const LOG_SIZE: usize = 1 << 20;
/// Bytes that it may take even where all logs together take too much.
const LEAST: usize = 64 << 10;
/// Bytes of the longest chunk.
const CHUNK: usize = 16 << 10;
/// What is written to one stream within this time is one chunk.
const MOMENT: SignedDuration = SignedDuration::from_millis(1);

/// What a job has printed; clones are the same.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: Arc<Budget>,
    kept: Mutex<Kept>,
    /// How often something changed, for those who wait.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    chunks: VecDeque<Chunk>,
    /// Bytes written since the beginning.
    written: u64,
    /// Bytes that the chunks take.
    size: usize,
    writers: usize,
    /// Whether what it takes is counted.
    charged: bool,
}

#[derive(Debug)]
struct Chunk {
    /// Bytes that were written before.
    start: u64,
    at: Timestamp,
    stream: OutputStream,
    bytes: Vec<u8>,
}

/// One of the two ends that write to a log; when both are dropped, the log is at its end.
#[derive(Debug)]
pub struct Writer {
    log: Log,
    stream: OutputStream,
    /// What keeps secrets out of it, where there are any.
    redactor: Option<Redactor>,
}

/// A place in a log.
#[derive(Debug)]
pub struct Follower {
    log: Log,
    at: u64,
    changes: watch::Receiver<u64>,
}

/// What a follower reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Output {
        stream: OutputStream,
        /// When its first byte was written.
        at: Timestamp,
        bytes: Bytes,
    },
    /// Bytes that were dropped before they were read.
    Gap { missed: u64 },
}

/// What is there for a follower now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Piece(Piece),
    /// Everything was read, and more may come.
    Nothing,
    /// Everything was read, and nothing more comes.
    End,
}

impl Log {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let kept = Kept { chunks: VecDeque::new(), written: 0, size: 0, writers: 0, charged: true };
        Self(Arc::new(Inner { budget, kept: Mutex::new(kept), changes: watch::Sender::new(0) }))
    }

    /// An end that writes to it as `stream`.
    pub fn writer(&self, stream: OutputStream) -> Writer {
        self.lock().writers += 1;
        Writer { log: self.clone(), stream, redactor: None }
    }

    /// The same, which keeps out what is secret.
    pub(crate) fn redacted(&self, stream: OutputStream, redaction: &Redaction) -> Writer {
        let mut writer = self.writer(stream);
        writer.redactor = (!redaction.is_empty()).then(|| redaction.redactor());
        writer
    }

    /// Reads from its beginning.
    pub fn follow(&self) -> Follower {
        self.follow_from(0)
    }

    /// Reads the last `lines` lines of `streams`, as far as they were written at `since` or later, and what comes after.
    pub fn follow_last(&self, lines: Option<u64>, since: Option<Timestamp>, streams: &[OutputStream]) -> Follower {
        let kept = self.lock();
        let by_time = since.map_or(0, |since| kept.first_at(since));
        let by_lines = lines.map_or(0, |lines| kept.last_lines(lines, streams));
        drop(kept);
        self.follow_from(by_time.max(by_lines))
    }

    fn follow_from(&self, at: u64) -> Follower {
        Follower { log: self.clone(), at, changes: self.0.changes.subscribe() }
    }

    /// From now on it does not count against the budget.
    pub(super) fn discharge(&self) {
        let mut kept = self.lock();
        if std::mem::replace(&mut kept.charged, false) {
            self.0.budget.subtract(kept.size);
        }
    }

    fn write(&self, stream: OutputStream, mut bytes: &[u8]) {
        let now = Timestamp::now();
        let mut kept = self.lock();
        let before = kept.size;
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(bytes.len().min(CHUNK));
            kept.append(stream, now, chunk);
            bytes = rest;
        }
        if kept.charged {
            self.0.budget.add(kept.size - before);
        }
        let full = kept.size;
        while kept.size > LOG_SIZE || (kept.size > LEAST && kept.charged && self.0.budget.is_exceeded()) {
            kept.drop_oldest();
        }
        if kept.charged {
            self.0.budget.subtract(full - kept.size);
        }
        drop(kept);
        self.tell();
    }

    fn tell(&self) {
        self.0.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().expect("no panic while the lock is held")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().expect("no panic while the lock is held");
        if kept.charged {
            self.budget.subtract(kept.size);
        }
    }
}

impl Kept {
    /// Adds to the last chunk what belongs to it, and what does not as a chunk of its own.
    fn append(&mut self, stream: OutputStream, at: Timestamp, bytes: &[u8]) {
        let start = self.written;
        self.written += bytes.len() as u64;
        if let Some(last) = self.chunks.back_mut()
            && last.stream == stream
            && last.bytes.len() + bytes.len() <= CHUNK
            && at.duration_since(last.at) < MOMENT
        {
            let before = last.bytes.capacity();
            last.bytes.extend_from_slice(bytes);
            self.size += last.bytes.capacity() - before;
            return;
        }
        let chunk = Chunk { start, at, stream, bytes: bytes.to_vec() };
        self.size += chunk.size();
        self.chunks.push_back(chunk);
    }

    fn drop_oldest(&mut self) {
        let gone = self.chunks.pop_front().expect("what takes space is there");
        self.size -= gone.size();
    }

    /// Bytes that were written before the oldest that is kept.
    fn first(&self) -> u64 {
        self.chunks.front().map_or(self.written, |chunk| chunk.start)
    }

    /// Where what was written at `since` or later begins. What is missing before it is part of it: nobody knows when it was written.
    fn first_at(&self, since: Timestamp) -> u64 {
        match self.chunks.iter().position(|chunk| chunk.at >= since) {
            Some(0) => 0,
            Some(at) => self.chunks[at].start,
            None => self.written,
        }
    }

    /// Where the last `lines` lines of `streams` begin, taken together as they were written.
    fn last_lines(&self, lines: u64, streams: &[OutputStream]) -> u64 {
        if lines == 0 {
            return self.written;
        }
        let (mut ends, mut is_last_byte) = (0, true);
        for chunk in self.chunks.iter().rev().filter(|chunk| streams.contains(&chunk.stream)) {
            for (at, byte) in chunk.bytes.iter().enumerate().rev() {
                // The newline at the very end ends the last line, and begins none.
                if *byte == b'\n' && !is_last_byte {
                    ends += 1;
                    if ends == lines {
                        return chunk.start + at as u64 + 1;
                    }
                }
                is_last_byte = false;
            }
        }
        0
    }
}

impl Chunk {
    fn size(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}

impl Follower {
    /// What is there now, in pieces of 16 KiB at most.
    pub fn try_next(&mut self) -> Next {
        let kept = self.log.lock();
        if self.at == kept.written {
            return if kept.writers == 0 { Next::End } else { Next::Nothing };
        }
        if self.at < kept.first() {
            let missed = kept.first() - self.at;
            self.at = kept.first();
            return Next::Piece(Piece::Gap { missed });
        }
        let chunk = &kept.chunks[kept.chunks.partition_point(|chunk| chunk.start <= self.at) - 1];
        let skipped = usize::try_from(self.at - chunk.start).expect("it is less than the length of a chunk");
        let bytes = Bytes::copy_from_slice(&chunk.bytes[skipped..]);
        self.at += bytes.len() as u64;
        Next::Piece(Piece::Output { stream: chunk.stream, at: chunk.at, bytes })
    }

    /// Waits for the next piece; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Piece> {
        loop {
            self.changes.mark_unchanged();
            match self.try_next() {
                Next::Piece(piece) => return Some(piece),
                Next::End => return None,
                Next::Nothing => self.changes.changed().await.expect("the follower holds the sender"),
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.redactor {
            None => self.log.write(self.stream, bytes),
            Some(redactor) => {
                let shown = redactor.redact(bytes);
                self.log.write(self.stream, &shown);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(redactor) = &mut self.redactor {
            let held = redactor.finish();
            self.log.write(self.stream, &held);
        }
        self.log.lock().writers -= 1;
        self.log.tell();
    }
}

#[cfg(test)]
mod tests;
