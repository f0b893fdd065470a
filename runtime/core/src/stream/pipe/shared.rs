//! The bytes in a pipe, which its two ends share.
//!
//! Bytes that arrive as [`Bytes`] pass through without a copy. Small pieces are copied into a common buffer instead, so that a writer of
//! single bytes does not keep a block of memory for each of them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

/// Pieces up to this size are copied, so that a reader which is slower than the writer gets few large chunks instead of many small ones.
const MAX_COPIED: usize = 16 << 10;
/// The size from which copied pieces go on as a chunk of their own.
const CHUNK_SIZE: usize = 64 << 10;
/// The number of bytes for which a writer of batches wakes its reader, if the capacity of the pipe is that large.
const BATCH_SIZE: usize = 128 << 10;

/// The pipe as its ends hold it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The oldest bytes.
    chunks: VecDeque<Bytes>,
    /// Copied bytes, which follow the chunks.
    tail: BytesMut,
    /// The number of bytes in the pipe.
    length: usize,
    capacity: usize,
    /// The reader that waits is woken for this many bytes.
    wake_at: usize,
    is_sink_dropped: bool,
    is_source_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Woken when the writer starts to wait.
    watcher: Option<Waker>,
}

impl Shared {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            length: 0,
            capacity: capacity.max(1),
            wake_at: 1,
            is_sink_dropped: false,
            is_source_dropped: false,
            reader: None,
            writer: None,
            watcher: None,
        })))
    }

    /// Copies as many of `bytes` into the pipe as fit, at least one.
    pub(super) fn poll_copy_from(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bytes.len(), |state, size| state.copy(&bytes[..size]))
    }

    /// Moves as many of `bytes` into the pipe as fit, at least one, without a copy if there are many.
    pub(super) fn poll_move_from(&self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bytes.len(), |state, size| {
            let piece = bytes.split_to(size);
            if piece.len() <= MAX_COPIED {
                state.copy(&piece);
            } else {
                state.flush_tail();
                state.chunks.push_back(piece);
            }
        })
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        size: usize,
        write: impl FnOnce(&mut State, usize),
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.is_source_dropped {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.capacity - state.length;
        if room == 0 && size > 0 {
            state.writer = Some(cx.waker().clone());
            wake(state.watcher.take(), state);
            return Poll::Pending;
        }
        let size = size.min(room);
        write(&mut state, size);
        state.length += size;
        let reader = if state.length >= state.wake_at { state.reader.take() } else { None };
        wake(reader, state);
        Poll::Ready(Ok(size))
    }

    /// Makes the writer one of batches, which calls [`wake_reader`](Self::wake_reader) before it pauses.
    pub(super) fn set_batched(&self) {
        let mut state = self.lock();
        state.wake_at = BATCH_SIZE.min(state.capacity.div_ceil(2));
    }

    /// Wakes a reader that waits, if there are bytes.
    pub(super) fn wake_reader(&self) {
        let mut state = self.lock();
        let reader = if state.length > 0 { state.reader.take() } else { None };
        wake(reader, state);
    }

    /// Waits until the writer waits for the reader. Until it is read to a half, the pipe is not empty then.
    pub(super) fn poll_writer_waiting(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.writer.is_some() {
            return Poll::Ready(());
        }
        state.watcher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Passes the oldest bytes to `put`, at most `max` of them, which is not 0. Returns their number, which is 0 at the end of the stream.
    pub(super) fn poll_copy_to(&self, cx: &mut Context<'_>, max: usize, mut put: impl FnMut(&[u8])) -> Poll<usize> {
        self.poll_read(cx, 0, |state| {
            let mut remaining = max;
            let mut take = |bytes: &mut dyn Buf| {
                let size = bytes.remaining().min(remaining);
                put(&bytes.chunk()[..size]);
                bytes.advance(size);
                remaining -= size;
                remaining > 0
            };
            while let Some(chunk) = state.chunks.front_mut() {
                let goes_on = take(chunk);
                if chunk.is_empty() {
                    state.chunks.pop_front();
                }
                if !goes_on {
                    return max;
                }
            }
            take(&mut state.tail);
            max - remaining
        })
    }

    /// Takes the oldest bytes out of the pipe. Returns none at the end of the stream.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.poll_read(cx, Bytes::new(), |state| match state.chunks.pop_front() {
            Some(chunk) => chunk,
            None => state.tail.split().freeze(),
        })
    }

    fn poll_read<T: Length>(&self, cx: &mut Context<'_>, end: T, read: impl FnOnce(&mut State) -> T) -> Poll<T> {
        let mut state = self.lock();
        if state.length == 0 {
            if state.is_sink_dropped {
                return Poll::Ready(end);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = read(&mut state);
        state.length -= bytes.length();
        // A writer that waits is woken for half of a pipe at least, and not for each piece.
        let writer = if state.length <= state.capacity / 2 { state.writer.take() } else { None };
        wake(writer, state);
        Poll::Ready(bytes)
    }

    /// Ends the stream: the reader gets the bytes in the pipe, and then its end.
    pub(super) fn close_sink(&self) {
        let mut state = self.lock();
        state.is_sink_dropped = true;
        wake(state.reader.take(), state);
    }

    /// Breaks the pipe: nobody will read the bytes in it.
    pub(super) fn close_source(&self) {
        let mut state = self.lock();
        state.is_source_dropped = true;
        let unread = (std::mem::take(&mut state.chunks), std::mem::take(&mut state.tail));
        wake(state.writer.take(), state);
        drop(unread);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl State {
    fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= CHUNK_SIZE {
            self.flush_tail();
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

/// Wakes `waiting` once the lock is released.
fn wake(waiting: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

/// The number of bytes that a read took.
trait Length {
    fn length(&self) -> usize;
}

impl Length for usize {
    fn length(&self) -> usize {
        *self
    }
}

impl Length for Bytes {
    fn length(&self) -> usize {
        self.len()
    }
}
