//! Streams of files: those that are read from are the library's, counted. Those that are written to are ours, since the library does not
//! tell how much was written where a disk fails.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use capstan_core::outcome::DiskResource;
use rustix::io::{ReadWriteFlags, pwritev2};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime_wasi::p2::{DynInputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::{Full, Ledger};

/// Bytes that a stream takes at a time.
const CAPACITY: usize = 64 << 10;

/// What a guest reads of a file.
pub(super) struct Reading {
    pub(super) inner: DynInputStream,
    pub(super) ledger: Arc<Ledger>,
    pub(super) mount: usize,
}

/// What a guest writes to a file.
pub(super) struct Writing {
    ledger: Arc<Ledger>,
    mount: usize,
    file: Arc<File>,
    /// Where the next byte goes; `None` for the end, wherever that is.
    at: Option<u64>,
    /// A size that the file has at least.
    size: u64,
    state: State,
}

enum State {
    Ready,
    /// Bytes are on their way.
    Busy(AbortOnDropHandle<io::Result<()>>),
    /// They did not all get there.
    Failed(io::Error),
    Closed,
}

/// Bytes on their way to a file. They have been counted; what does not get there is taken back.
struct Sent {
    ledger: Arc<Ledger>,
    mount: usize,
    file: Arc<File>,
    at: Option<u64>,
    bytes: Bytes,
    /// What was counted for those that are not written yet.
    counted: u64,
    /// Dropped last: whoever waits for it finds the bytes written or taken back.
    _on_its_way: TaskTrackerToken,
}

impl Reading {
    fn count(&self, read: &StreamResult<Bytes>) {
        if let Ok(bytes) = read {
            self.ledger.operation(self.mount);
            self.ledger.read(self.mount, bytes.len() as u64);
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.inner.read(size);
        self.count(&read);
        read
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.inner.blocking_read(size).await;
        self.count(&read);
        read
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

impl Writing {
    /// A stream to `file` from the offset `at` on, or to its end.
    pub(super) fn new(ledger: Arc<Ledger>, mount: usize, file: Arc<File>, at: Option<u64>) -> Self {
        Self { ledger, mount, file, at, size: 0, state: State::Ready }
    }

    /// What lies between the end of the file and the place of the next byte, and becomes part of it with that.
    fn hole(&mut self) -> u64 {
        let Some(at) = self.at else { return 0 };
        if at > self.size {
            // A file whose size cannot be told counts as empty.
            self.size = self.file.metadata().map_or(0, |metadata| metadata.len());
        }
        at.saturating_sub(self.size)
    }

    /// Sends off what there is room for, and leaves the rest.
    fn send(&mut self, bytes: &mut Bytes) -> StreamResult<()> {
        self.ledger.operation(self.mount);
        let hole = self.hole();
        let admitted = self.ledger.admit(self.mount, bytes.len() as u64, hole).map_err(failed)?;
        let bytes = bytes.split_to(usize::try_from(admitted).unwrap_or(bytes.len()));
        if bytes.is_empty() {
            return Ok(());
        }
        let counted = admitted.saturating_add(hole);
        self.ledger.wrote(self.mount, counted);
        let (ledger, file) = (self.ledger.clone(), self.file.clone());
        let on_its_way = ledger.writes.token();
        let sent = Sent { ledger, mount: self.mount, file, at: self.at, bytes, counted, _on_its_way: on_its_way };
        if let Some(at) = &mut self.at {
            *at = at.saturating_add(admitted);
            self.size = self.size.max(*at);
        }
        self.state = State::Busy(AbortOnDropHandle::new(tokio::task::spawn_blocking(|| sent.write())));
        Ok(())
    }

    /// For those bytes that there was no room for.
    fn rest(&self, rest: &Bytes) -> StreamResult<()> {
        if rest.is_empty() { Ok(()) } else { Err(failed(self.ledger.deny(self.mount, DiskResource::Bytes))) }
    }

    /// Whether bytes are on their way; what has become of the last ones, where that is not told yet.
    fn is_busy(&mut self) -> StreamResult<bool> {
        match mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(matches!(self.state, State::Busy(_)))
            }
        }
    }
}

impl Sent {
    /// Writes them.
    fn write(mut self) -> io::Result<()> {
        while !self.bytes.is_empty() {
            match self.write_some() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.bytes.advance(count);
                    self.at = self.at.map(|at| at.saturating_add(count as u64));
                    self.counted = self.bytes.len() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ledger.write_failed(self.mount, &error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn write_some(&self) -> io::Result<usize> {
        match self.at {
            Some(at) => self.file.write_at(&self.bytes, at),
            None => Ok(pwritev2(&self.file, &[IoSlice::new(&self.bytes)], 0, ReadWriteFlags::APPEND)?),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.ledger.unwritten(self.mount, self.counted);
    }
}

#[async_trait::async_trait]
impl OutputStream for Writing {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        if self.is_busy()? {
            return Err(StreamError::trap("a write was not permitted: `check-write` was not asked"));
        }
        self.send(&mut bytes)?;
        self.rest(&bytes)
    }

    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        self.is_busy()?;
        self.send(&mut bytes)?;
        self.ready().await;
        self.is_busy()?;
        self.rest(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.is_busy().map(drop)
    }

    /// As much as there is room for. Where there is none it is as if there were, so that the next write is told why it fails, and a guest
    /// that has written all it wanted can still flush.
    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_busy()? {
            return Ok(0);
        }
        let hole = self.hole();
        match self.ledger.room(self.mount, DiskResource::Bytes).saturating_sub(hole) {
            0 => Ok(CAPACITY),
            room => Ok(CAPACITY.min(usize::try_from(room).unwrap_or(usize::MAX))),
        }
    }

    /// What is on its way gets there.
    async fn cancel(&mut self) {
        self.ready().await;
        self.state = State::Closed;
    }
}

#[async_trait::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        if let State::Busy(writing) = &mut self.state {
            self.state = match writing.await {
                Ok(Ok(())) => State::Ready,
                Ok(Err(error)) => State::Failed(error),
                Err(error) => State::Failed(io::Error::other(error)),
            };
        }
    }
}

fn failed(full: Full) -> StreamError {
    StreamError::LastOperationFailed(full.into())
}
