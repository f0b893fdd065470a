//! `Tap`: a reader of a fan-out, with a bounded queue that never holds the writer back.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::{FanOut, Sink};

/// Bytes of the longest piece that is read.
const PIECE: usize = 16 << 10;

/// What happens when the queue of a tap is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The oldest that was not read is dropped, and its reader is told how much.
    Drop,
    /// The tap is taken out: its reader gets what is in the queue, and then [`Evicted`].
    Evict,
}

/// What a tap reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// Bytes that were dropped before they were read.
    Gap {
        missed: u64,
    },
}

/// The reader fell behind, and was taken out before the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell behind and was taken out")]
pub struct Evicted;

/// Why a sink did not get all of a tap.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error(transparent)]
    Evicted(#[from] Evicted),
    #[error("cannot write: {0}")]
    Write(std::io::Error),
    #[error("cannot close: {0}")]
    Close(std::io::Error),
}

/// A reader of a [`FanOut`]; dropping it takes it out.
#[derive(Debug)]
pub struct Tap {
    of: FanOut,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    number: u64,
    policy: Policy,
    capacity: usize,
    bytes: VecDeque<u8>,
    /// Bytes that were dropped since the last were read; they came before those that are there.
    missed: u64,
    evicted: bool,
    reader: Option<Waker>,
}

impl Tap {
    pub(super) fn new(of: FanOut, number: u64) -> Self {
        Self { of, number }
    }

    /// The next piece, of 16 KiB at most; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// [`Evicted`], after all that is in the queue.
    pub async fn next(&mut self) -> Result<Option<Piece>, Evicted> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Piece>, Evicted>> {
        let mut inside = self.of.lock();
        let ended = inside.ended;
        let queue = inside.queues.iter_mut().find(|queue| queue.number == self.number);
        let queue = queue.expect("a tap takes its queue with it");
        match queue.take() {
            Some(piece) => Poll::Ready(Ok(Some(piece))),
            None if queue.evicted => Poll::Ready(Err(Evicted)),
            None if ended => Poll::Ready(Ok(None)),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Hands everything on to `sink`, with a line in the place of what was dropped, and closes it. Gives how many bytes of the stream
    /// it got. Where it is given up, or fails, the tap is taken out and the sink dropped.
    ///
    /// # Errors
    /// [`CarryError`]
    pub async fn carry(mut self, mut sink: Sink) -> Result<u64, CarryError> {
        let mut carried = 0;
        while let Some(piece) = self.next().await? {
            let bytes = match piece {
                Piece::Bytes(bytes) => {
                    carried += bytes.len() as u64;
                    bytes
                }
                Piece::Gap { missed } => format!("[capstan: {missed} bytes of output are missing here]\n").into(),
            };
            sink.write_all(&bytes).await.map_err(CarryError::Write)?;
        }
        sink.shutdown().await.map_err(CarryError::Close)?;
        Ok(carried)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.of.lock().queues.retain(|queue| queue.number != self.number);
    }
}

impl Queue {
    pub(super) fn new(number: u64, policy: Policy, capacity: usize) -> Self {
        Self { number, policy, capacity, bytes: VecDeque::new(), missed: 0, evicted: false, reader: None }
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted
    }

    /// Who waits for what is put into it.
    pub(super) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Adds `bytes`, by its policy where there is no room for them.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let over = (self.bytes.len() + bytes.len()).saturating_sub(self.capacity);
        if over > 0 && self.policy == Policy::Evict {
            self.evicted = true;
        }
        if self.evicted {
            return;
        }
        let old = over.min(self.bytes.len());
        self.bytes.drain(..old);
        self.bytes.extend(&bytes[over - old..]);
        self.missed += over as u64;
    }

    fn take(&mut self) -> Option<Piece> {
        if self.missed > 0 {
            return Some(Piece::Gap { missed: std::mem::take(&mut self.missed) });
        }
        let (front, back) = self.bytes.as_slices();
        let of_front = front.len().min(PIECE);
        let of_back = back.len().min(PIECE - of_front);
        let piece = [&front[..of_front], &back[..of_back]].concat();
        self.bytes.drain(..piece.len());
        (!piece.is_empty()).then(|| Piece::Bytes(piece.into()))
    }
}
