//! The streams of files in 0.2. An input stream is that of wasmtime-wasi with counting. An output stream is Capstan's own, because
//! wasmtime-wasi does not report how much was written if a disk fails.

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

use super::ledger::{Ledger, QuotaExceeded};

/// How many bytes a stream accepts at a time.
const CAPACITY: usize = 64 << 10;

/// A stream from a file to a guest.
pub(super) struct FileInputStream {
    pub(super) inner: DynInputStream,
    pub(super) ledger: Arc<Ledger>,
    pub(super) mount: usize,
}

/// A stream from a guest to a file.
pub(super) struct FileOutputStream {
    ledger: Arc<Ledger>,
    mount: usize,
    file: Arc<File>,
    /// The offset of the next byte. `None` appends, wherever the end is by then.
    offset: Option<u64>,
    /// The size that the file has at least.
    size: u64,
    state: State,
}

enum State {
    Ready,
    /// A write is in progress.
    Writing(AbortOnDropHandle<io::Result<()>>),
    /// The last write failed, which the guest does not know yet.
    Failed(io::Error),
    Closed,
}

/// A write in progress. Its bytes are counted already; dropping it subtracts what was not written.
struct PendingWrite {
    ledger: Arc<Ledger>,
    mount: usize,
    file: Arc<File>,
    offset: Option<u64>,
    bytes: Bytes,
    /// How much was counted for the bytes that are not written yet.
    counted: u64,
    /// Dropped last, so that whoever waits for it finds the bytes written or subtracted.
    _token: TaskTrackerToken,
}

impl FileInputStream {
    /// Counts the result of a read.
    fn count(&self, read: &StreamResult<Bytes>) {
        if let Ok(bytes) = read {
            self.ledger.count_operation(self.mount);
            self.ledger.count_read(self.mount, bytes.len() as u64);
        }
    }
}

#[async_trait::async_trait]
impl InputStream for FileInputStream {
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
impl Pollable for FileInputStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

impl FileOutputStream {
    /// Creates a stream that writes to `file` from `offset` on, or appends to it if that is `None`.
    pub(super) fn new(ledger: Arc<Ledger>, mount: usize, file: Arc<File>, offset: Option<u64>) -> Self {
        Self { ledger, mount, file, offset, size: 0, state: State::Ready }
    }

    /// Returns the bytes between the end of the file and the offset of the next byte, which become part of the file with the next write.
    fn hole(&mut self) -> u64 {
        let Some(offset) = self.offset else { return 0 };
        if offset > self.size {
            // If the size is not known, the file counts as empty.
            self.size = self.file.metadata().map_or(0, |metadata| metadata.len());
        }
        offset.saturating_sub(self.size)
    }

    /// Starts to write what the quota has room for, and leaves the rest in `bytes`.
    fn start_write(&mut self, bytes: &mut Bytes) -> StreamResult<()> {
        self.ledger.count_operation(self.mount);
        let hole = self.hole();
        let admitted = self.ledger.admit_write(self.mount, bytes.len() as u64, hole).map_err(operation_failed)?;
        let bytes = bytes.split_to(usize::try_from(admitted).unwrap_or(bytes.len()));
        if bytes.is_empty() {
            return Ok(());
        }
        let counted = admitted.saturating_add(hole);
        self.ledger.count_written(self.mount, counted);
        let (ledger, file) = (self.ledger.clone(), self.file.clone());
        let token = ledger.writes.token();
        let write =
            PendingWrite { ledger, mount: self.mount, file, offset: self.offset, bytes, counted, _token: token };
        if let Some(offset) = &mut self.offset {
            *offset = offset.saturating_add(admitted);
            self.size = self.size.max(*offset);
        }
        self.state = State::Writing(AbortOnDropHandle::new(tokio::task::spawn_blocking(|| write.run())));
        Ok(())
    }

    /// Returns an error if the quota had no room for all bytes.
    fn check_rest(&self, rest: &Bytes) -> StreamResult<()> {
        if rest.is_empty() { Ok(()) } else { Err(operation_failed(self.ledger.deny(self.mount, DiskResource::Bytes))) }
    }

    /// Returns whether a write is in progress, or the error of the last write if the guest does not know it yet.
    fn is_writing(&mut self) -> StreamResult<bool> {
        match mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(matches!(self.state, State::Writing(_)))
            }
        }
    }
}

impl PendingWrite {
    /// Writes all bytes. Blocks.
    fn run(mut self) -> io::Result<()> {
        while !self.bytes.is_empty() {
            match self.write_some() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.bytes.advance(count);
                    self.offset = self.offset.map(|offset| offset.saturating_add(count as u64));
                    self.counted = self.bytes.len() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ledger.record_failed_write(self.mount, &error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn write_some(&self) -> io::Result<usize> {
        match self.offset {
            Some(offset) => self.file.write_at(&self.bytes, offset),
            None => Ok(pwritev2(&self.file, &[IoSlice::new(&self.bytes)], 0, ReadWriteFlags::APPEND)?),
        }
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        self.ledger.subtract_unwritten(self.mount, self.counted);
    }
}

#[async_trait::async_trait]
impl OutputStream for FileOutputStream {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        if self.is_writing()? {
            return Err(StreamError::trap("the guest wrote without permission: it did not call `check-write`"));
        }
        self.start_write(&mut bytes)?;
        self.check_rest(&bytes)
    }

    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        self.is_writing()?;
        self.start_write(&mut bytes)?;
        self.ready().await;
        self.is_writing()?;
        self.check_rest(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.is_writing().map(drop)
    }

    /// Returns how much the quota has room for. If it has none, returns the full capacity, so that the next write fails with the reason, and a
    /// guest that has nothing more to write can still flush.
    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_writing()? {
            return Ok(0);
        }
        let hole = self.hole();
        match self.ledger.remaining(self.mount, DiskResource::Bytes).saturating_sub(hole) {
            0 => Ok(CAPACITY),
            remaining => Ok(CAPACITY.min(usize::try_from(remaining).unwrap_or(usize::MAX))),
        }
    }

    /// Waits until the write in progress is finished.
    async fn cancel(&mut self) {
        self.ready().await;
        self.state = State::Closed;
    }
}

#[async_trait::async_trait]
impl Pollable for FileOutputStream {
    async fn ready(&mut self) {
        if let State::Writing(write) = &mut self.state {
            self.state = match write.await {
                Ok(Ok(())) => State::Ready,
                Ok(Err(error)) => State::Failed(error),
                Err(error) => State::Failed(io::Error::other(error)),
            };
        }
    }
}

fn operation_failed(error: QuotaExceeded) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}
