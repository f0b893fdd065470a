//! [`Tap`]: a reader of a fan-out, with a bounded queue that never blocks the writer.

use std::task::{Context, Poll};

use tokio::io::AsyncWriteExt as _;

use super::queue::{Evicted, Piece};
use super::state::SharedState;
use crate::stream::pipe::Sink;

/// The sink did not get the whole stream of the tap.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Evicted(#[from] Evicted),
    #[error("cannot write to the sink: {0}")]
    Write(std::io::Error),
    #[error("cannot close the sink: {0}")]
    Close(std::io::Error),
}

/// A reader of a [`FanOut`](super::FanOut). Dropping it removes it.
#[derive(Debug)]
pub struct Tap {
    fan_out: SharedState,
    number: u64,
}

impl Tap {
    pub(super) fn new(fan_out: SharedState, number: u64) -> Self {
        Self { fan_out, number }
    }

    /// Waits for the next piece of at most 16 KiB. Returns `None` at the end of the stream.
    ///
    /// Cancel safe: if the future is dropped, no piece is lost.
    ///
    /// # Errors
    /// [`Evicted`], after the content of the queue.
    pub async fn next(&mut self) -> Result<Option<Piece>, Evicted> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Piece>, Evicted>> {
        let mut state = self.fan_out.lock();
        let is_ended = state.is_ended;
        let queue = state.queues.iter_mut().find(|queue| queue.number == self.number);
        let queue = queue.expect("a tap removes its queue only when it is dropped");
        match queue.pop() {
            Some(piece) => Poll::Ready(Ok(Some(piece))),
            None if queue.is_evicted() => Poll::Ready(Err(Evicted)),
            None if is_ended => Poll::Ready(Ok(None)),
            None => {
                queue.set_reader(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Copies the stream to `sink`, with a line in the place of each gap, and closes the sink. Returns how many bytes of the stream it
    /// copied.
    ///
    /// Not cancel safe: if the future is dropped, or fails, it removes the tap and drops the sink.
    ///
    /// # Errors
    /// [`ForwardError`]
    pub async fn forward_to(mut self, mut sink: Sink) -> Result<u64, ForwardError> {
        let mut copied = 0;
        while let Some(piece) = self.next().await? {
            let bytes = match piece {
                Piece::Bytes(bytes) => {
                    copied += bytes.len() as u64;
                    bytes
                }
                Piece::Gap { missed } => format!("[capstan: {missed} bytes of output are missing here]\n").into(),
            };
            sink.write_all(&bytes).await.map_err(ForwardError::Write)?;
        }
        sink.shutdown().await.map_err(ForwardError::Close)?;
        Ok(copied)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.fan_out.lock().queues.retain(|queue| queue.number != self.number);
    }
}
