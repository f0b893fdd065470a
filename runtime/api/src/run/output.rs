//! `Output`: the stdout of a run as its response reads it, and [`BufferedOutput`]: that of a short run.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd};
use futures_util::FutureExt as _;
use futures_util::stream::Stream;
use tokio::time::timeout;

/// The stdout of a run, read by the connection of its client. Dropping it breaks the pipe.
#[derive(Debug)]
pub(crate) struct Output(Arc<Mutex<State>>);

/// A reference to an [`Output`] that can exchange its source. It does not keep the output open.
#[derive(Debug)]
pub(crate) struct OutputRef(Weak<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Source,
    /// The number of pieces that the connection has read.
    reads: u64,
}

impl Output {
    pub(crate) fn new(source: Source) -> Self {
        Self(Arc::new(Mutex::new(State { source, reads: 0 })))
    }

    pub(crate) fn downgrade(&self) -> OutputRef {
        OutputRef(Arc::downgrade(&self.0))
    }
}

impl OutputRef {
    /// Waits until the guest waits for the connection to read. Returns the number of pieces that it has read, or `None` if the output was
    /// dropped before. Cancel-safe.
    pub(super) async fn guest_blocked(&self) -> Option<u64> {
        poll_fn(|cx| {
            let Some(state) = self.0.upgrade() else { return Poll::Ready(None) };
            let state = lock(&state);
            state.source.poll_writer_waiting(cx).map(|()| Some(state.reads))
        })
        .await
    }

    /// Exchanges the source if the guest waits and nothing was read after the first `reads` pieces. Returns the old source, or gives `source`
    /// back.
    pub(super) fn exchange_if_unread(&self, reads: u64, source: Source) -> Result<Source, Source> {
        let Some(state) = self.0.upgrade() else { return Err(source) };
        let mut state = lock(&state);
        // The connection does not wait for the old source, which has bytes. So it need not be woken to wait for the new one.
        let is_blocked = state.source.poll_writer_waiting(&Context::from_waker(Waker::noop())).is_ready();
        if is_blocked && state.reads == reads { Ok(std::mem::replace(&mut state.source, source)) } else { Err(source) }
    }
}

impl Stream for Output {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = lock(&self.0);
        state.source.poll_read_bytes(cx).map(|bytes| {
            state.reads += 1;
            Some(bytes).filter(|bytes| !bytes.is_empty())
        })
    }
}

/// The first output of a run. That of a short run is one piece, which is not copied.
#[derive(Debug, Default)]
pub(crate) struct BufferedOutput {
    first: Bytes,
    more: BytesMut,
}

impl BufferedOutput {
    /// Creates a buffer that begins with `first`.
    pub(crate) fn starting_with(first: Bytes) -> Self {
        Self { first, more: BytesMut::new() }
    }

    /// Reads the output of a run that ends at once, or within `delay`, and returns its end. `None` for other runs, and where the output exceeds
    /// `max` bytes: what was read is in `self`.
    pub(crate) async fn read_to_end_within(
        &mut self,
        delay: Option<Duration>,
        stdout: &mut Source,
        max: usize,
        job: &Job,
    ) -> Option<Arc<JobEnd>> {
        // A short run has ended by now, and needs no timer.
        if let Some(end) = self.read_to_end(stdout, max, job).now_or_never() {
            return end;
        }
        timeout(delay?, self.read_to_end(stdout, max, job)).await.ok().flatten()
    }

    /// Reads the output of a run, and returns its end; `None` where the output exceeds `max` bytes.
    ///
    /// Cancel-safe: what was read is in `self`.
    pub(crate) async fn read_to_end(&mut self, stdout: &mut Source, max: usize, job: &Job) -> Option<Arc<JobEnd>> {
        while self.first.len() + self.more.len() <= max {
            let bytes = stdout.read_bytes().await;
            if bytes.is_empty() {
                return Some(job.wait().await);
            }
            if self.first.is_empty() {
                self.first = bytes;
            } else {
                self.more.extend_from_slice(&bytes);
            }
        }
        None
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { [self.first, self.more.freeze()].concat().into() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while the lock is held")
}
