//! Streams of files: those of the library, counted.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::{Full, Ledger};
use crate::outcome::Room;

/// What a guest reads of a file.
pub(super) struct Reading {
    pub(super) inner: DynInputStream,
    pub(super) ledger: Arc<Ledger>,
    pub(super) mount: usize,
}

/// What a guest writes to a file.
pub(super) struct Writing {
    pub(super) inner: DynOutputStream,
    pub(super) ledger: Arc<Ledger>,
    pub(super) mount: usize,
    pub(super) file: Arc<File>,
    /// Where the next byte goes; `None` for the end, wherever that is.
    pub(super) at: Option<u64>,
    /// A size that the file has at least.
    pub(super) size: u64,
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
    /// What lies between the end of the file and the place of the next byte, and becomes part of it with that.
    fn hole(&mut self) -> u64 {
        let Some(at) = self.at else { return 0 };
        if at > self.size {
            // A file whose size cannot be told counts as empty.
            self.size = self.file.metadata().map_or(0, |metadata| metadata.len());
        }
        at.saturating_sub(self.size)
    }

    fn wrote(&mut self, bytes: usize, hole: u64) {
        let bytes = bytes as u64;
        self.ledger.wrote(self.mount, bytes.saturating_add(hole));
        if let Some(at) = &mut self.at {
            *at = at.saturating_add(bytes);
            self.size = self.size.max(*at);
        }
    }

    /// Splits off what there is room for; also what the file grows by besides.
    fn admitted(&mut self, bytes: &mut Bytes) -> Result<(Bytes, u64), StreamError> {
        self.ledger.operation(self.mount);
        let hole = self.hole();
        let admitted = self.ledger.admit(self.mount, bytes.len() as u64, hole).map_err(failed)?;
        Ok((bytes.split_to(usize::try_from(admitted).unwrap_or(bytes.len())), hole))
    }

    /// For those bytes that there was no room for.
    fn rest(&self, rest: &Bytes) -> StreamResult<()> {
        if rest.is_empty() { Ok(()) } else { Err(failed(self.ledger.deny(self.mount, Room::Bytes))) }
    }
}

#[async_trait::async_trait]
impl OutputStream for Writing {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let (admitted, hole) = self.admitted(&mut bytes)?;
        let count = admitted.len();
        self.inner.write(admitted)?;
        if count > 0 {
            self.wrote(count, hole);
        }
        self.rest(&bytes)
    }

    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let (admitted, hole) = self.admitted(&mut bytes)?;
        let count = admitted.len();
        self.inner.blocking_write_and_flush(admitted).await?;
        if count > 0 {
            self.wrote(count, hole);
        }
        self.rest(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    /// As much as there is room for. Where there is none it is what the library permits, so that the next write is told why it fails,
    /// and a guest that has written all it wanted can still flush.
    fn check_write(&mut self) -> StreamResult<usize> {
        let permitted = self.inner.check_write()?;
        let hole = self.hole();
        match self.ledger.room(self.mount, Room::Bytes).saturating_sub(hole) {
            0 => Ok(permitted),
            room => Ok(permitted.min(usize::try_from(room).unwrap_or(usize::MAX))),
        }
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

fn failed(full: Full) -> StreamError {
    StreamError::LastOperationFailed(full.into())
}
