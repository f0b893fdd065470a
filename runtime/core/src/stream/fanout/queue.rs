//! [`Queue`]: the bounded queue of one tap.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

/// Maximum length of a piece in bytes.
const PIECE: usize = 16 << 10;

/// What happens when the queue of a tap is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagPolicy {
    /// Drops the oldest bytes. The reader gets a [`Piece::Gap`] in their place.
    Drop,
    /// Removes the tap. The reader gets the content of the queue and then [`Evicted`].
    Evict,
}

/// A part of the stream that a tap reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// Bytes that were dropped because the reader was too slow.
    Gap {
        missed: u64,
    },
}

/// The reader was too slow and was removed before the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader was too slow and was removed before the end of the stream")]
pub struct Evicted;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) number: u64,
    policy: LagPolicy,
    capacity: usize,
    bytes: VecDeque<u8>,
    /// Bytes that were dropped since the last read. They precede the bytes in the queue.
    missed: u64,
    is_evicted: bool,
    /// The task that waits for bytes.
    reader: Option<Waker>,
}

impl Queue {
    pub(super) fn new(number: u64, policy: LagPolicy, capacity: usize) -> Self {
        Self { number, policy, capacity, bytes: VecDeque::new(), missed: 0, is_evicted: false, reader: None }
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted
    }

    /// Registers the task that waits for bytes.
    pub(super) fn set_reader(&mut self, reader: Waker) {
        self.reader = Some(reader);
    }

    /// Removes and returns the task that waits for bytes.
    pub(super) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Adds `bytes`. Applies the policy if they do not fit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(self.capacity);
        if excess > 0 && self.policy == LagPolicy::Evict {
            self.is_evicted = true;
        }
        if self.is_evicted {
            return;
        }
        let old = excess.min(self.bytes.len());
        self.bytes.drain(..old);
        self.bytes.extend(&bytes[excess - old..]);
        self.missed += excess as u64;
    }

    /// Removes the next piece. Returns `None` if the queue is empty.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        if self.missed > 0 {
            return Some(Piece::Gap { missed: std::mem::take(&mut self.missed) });
        }
        let (front, back) = self.bytes.as_slices();
        let from_front = front.len().min(PIECE);
        let from_back = back.len().min(PIECE - from_front);
        let piece = [&front[..from_front], &back[..from_back]].concat();
        self.bytes.drain(..piece.len());
        (!piece.is_empty()).then(|| Piece::Bytes(piece.into()))
    }
}
