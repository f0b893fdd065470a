//! [`AttemptOutput`]: sends what a run prints to the store, in the order of writing.
//!
//! A run that prints faster than the disk writes waits, as it would for a file. Small output is collected for a moment, so that a line does
//! not cost a sync of its own.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_core::secret::Redaction;
use capstan_core::stream::Sink;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Queue;
use crate::job_store::{AttemptError, JobStoreError, Lease, OutputChunk};
use crate::notified;
use crate::recorded_stream::{RecordedStream, Recording};

/// Bytes that may wait for the disk. Then the run waits.
const MAX_WAITING: usize = 256 << 10;
/// Bytes that are sent at once.
const ENOUGH: usize = 64 << 10;
/// How long less than that is collected.
const COLLECT_FOR: Duration = Duration::from_millis(25);
/// How long to wait before something is tried again on a full disk.
pub(super) const PAUSE_WHEN_FULL: Duration = Duration::from_secs(1);
/// The bytes of the longest chunk.
const MAX_CHUNK: usize = 16 << 10;
/// Bytes that are written to one stream within this time form one chunk.
const MERGE_WITHIN: SignedDuration = SignedDuration::from_millis(1);

/// The output of one attempt. Clones are the same output.
#[derive(Clone, Debug)]
pub(super) struct AttemptOutput(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    lease: Lease,
    control: Handle,
    state: Mutex<State>,
    /// Notified when there is more to send, or the output is closed.
    written: Notify,
    /// Notified when everything was sent.
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: Vec<(OutputStream, Timestamp, BytesMut)>,
    size: usize,
    is_sending: bool,
    is_closed: bool,
    /// Nothing more is recorded, because the attempt is not ours any more or the store has failed.
    is_lost: bool,
    waiting: Vec<Waker>,
}

impl AttemptOutput {
    /// Returns the output of the attempt that has `lease`. Must be called on the control runtime.
    pub(super) fn new(queue: Queue, lease: Lease) -> Self {
        Self(Arc::new(Inner {
            queue,
            lease,
            control: Handle::current(),
            state: Mutex::default(),
            written: Notify::new(),
            idle: Notify::new(),
        }))
    }

    /// Returns a sink for `stream` that removes secrets.
    pub(super) fn sink(&self, stream: OutputStream, redaction: &Redaction) -> Sink {
        Sink::new(RecordedStream::new(self.clone(), stream, Some(redaction)))
    }

    /// Waits until everything that was written is in the store, or lost. Nothing may be written after this call.
    pub(super) async fn close(&self) {
        self.lock().is_closed = true;
        self.0.written.notify_one();
        notified::wait_for(&self.0.idle, || (!self.lock().is_sending).then_some(())).await;
    }

    /// Sends what is written until nothing is left for a moment.
    async fn send_all(self) {
        loop {
            let is_ready = || {
                let state = self.lock();
                state.size >= ENOUGH || state.is_closed
            };
            if !is_ready() {
                let _ = tokio::time::timeout(COLLECT_FOR, self.0.written.notified()).await;
            }
            let Some(chunks) = self.take() else { return };
            self.send(chunks).await;
        }
    }

    /// Takes what was written. Returns `None`, and stops sending, if there is nothing.
    fn take(&self) -> Option<Vec<OutputChunk>> {
        let mut state = self.lock();
        let chunk = |(stream, at, bytes): (_, _, BytesMut)| OutputChunk { stream, at, bytes: bytes.freeze() };
        let chunks: Vec<_> = state.chunks.drain(..).map(chunk).collect();
        state.size = 0;
        let waiting = std::mem::take(&mut state.waiting);
        let is_empty = chunks.is_empty();
        state.is_sending = !is_empty;
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        if is_empty {
            self.0.idle.notify_waiters();
        }
        (!is_empty).then_some(chunks)
    }

    /// Appends to the stored output. Waits for space on a full disk, unless the engine shuts down.
    async fn send(&self, chunks: Vec<OutputChunk>) {
        let Queue(queue) = &self.0.queue;
        loop {
            match queue.store.append_output(self.0.lease, chunks.clone()).await {
                Ok(_) => return,
                Err(AttemptError::Store(JobStoreError::Full)) if !queue.engine.is_shutting_down() => {
                    tokio::time::sleep(PAUSE_WHEN_FULL).await;
                }
                Err(error) => return self.give_up(&error),
            }
        }
    }

    /// Stops the run, because its output is not recorded any more.
    fn give_up(&self, error: &AttemptError) {
        tracing::error!(job = %self.0.lease.job, "cannot record the output of a job: {error}");
        let mut state = self.lock();
        state.is_lost = true;
        state.chunks.clear();
        state.size = 0;
        drop(state);
        if let AttemptError::Store(error) = error {
            let _ = self.0.queue.note::<()>(Err(error.clone()));
        }
        if let Some(job) = self.0.queue.running_job(self.0.lease.job) {
            job.stop().request(Outcome::Lost);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

impl Recording for AttemptOutput {
    fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.size < MAX_WAITING {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    fn write(&self, stream: OutputStream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.is_lost {
            return;
        }
        state.push(stream, bytes);
        if !std::mem::replace(&mut state.is_sending, true) {
            drop(state);
            let output = self.clone();
            self.0.queue.0.engine.spawn_on(&self.0.control, async move { output.send_all().await });
        } else if state.size >= ENOUGH {
            drop(state);
            self.0.written.notify_one();
        }
    }
}

impl State {
    fn push(&mut self, stream: OutputStream, mut bytes: &[u8]) {
        self.size += bytes.len();
        let now = Timestamp::now();
        while !bytes.is_empty() {
            let chunk = match self.chunks.last_mut() {
                Some((last, at, chunk))
                    if *last == stream && chunk.len() < MAX_CHUNK && now.duration_since(*at) < MERGE_WITHIN =>
                {
                    chunk
                }
                _ => {
                    self.chunks.push((stream, now, BytesMut::new()));
                    &mut self.chunks.last_mut().expect("it was pushed").2
                }
            };
            let (part, rest) = bytes.split_at(bytes.len().min(MAX_CHUNK - chunk.len()));
            chunk.extend_from_slice(part);
            bytes = rest;
        }
    }
}
