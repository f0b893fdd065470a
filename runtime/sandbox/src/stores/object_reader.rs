//! [`ObjectStream`]: the stream from which a guest reads an object.

use std::sync::Arc;

use bytes::Bytes;
use capstan_engine::data::{CHUNK, DataError, ObjectReader};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// A part of an object. Its bytes stay while this exists.
#[derive(Clone, Debug)]
pub struct ObjectPart {
    reader: Arc<dyn ObjectReader>,
    position: u64,
    end: u64,
}

/// The stream from which a guest reads a part of an object, with one piece in memory.
#[derive(Debug)]
pub(super) struct ObjectStream {
    part: ObjectPart,
    piece: Bytes,
    error: Option<DataError>,
}

impl ObjectPart {
    /// Returns the bytes from `start` to `last`, including both, as far as they exist.
    pub(super) fn new(reader: Box<dyn ObjectReader>, start: u64, last: u64) -> Self {
        let end = last.saturating_add(1).min(reader.size());
        Self { reader: reader.into(), position: start.min(end), end }
    }

    /// Returns how many bytes are left.
    pub(super) fn size(&self) -> u64 {
        self.end - self.position
    }

    /// Returns the next bytes, which are none at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Bytes, DataError> {
        if self.position == self.end {
            return Ok(Bytes::new());
        }
        let mut piece = self.reader.piece(self.position / CHUNK as u64).await?;
        // Both are less than the size of a piece.
        let skipped = usize::try_from(self.position % CHUNK as u64).unwrap_or(CHUNK);
        if skipped >= piece.len() {
            return Err(DataError::damaged("an object", "a piece is too short"));
        }
        piece = piece.slice(skipped..);
        piece.truncate(usize::try_from(self.size()).unwrap_or(usize::MAX));
        self.position += piece.len() as u64;
        Ok(piece)
    }
}

impl ObjectStream {
    pub(super) fn new(part: ObjectPart) -> Self {
        Self { part, piece: Bytes::new(), error: None }
    }
}

#[async_trait::async_trait]
impl Pollable for ObjectStream {
    async fn ready(&mut self) {
        if self.piece.is_empty() && self.error.is_none() {
            match self.part.next().await {
                Ok(piece) => self.piece = piece,
                Err(error) => self.error = Some(error),
            }
        }
    }
}

#[async_trait::async_trait]
impl InputStream for ObjectStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(error) = &self.error {
            tracing::error!("{error}");
            return Err(StreamError::LastOperationFailed(wasmtime::format_err!("the store of data failed")));
        }
        if self.piece.is_empty() && self.part.size() == 0 {
            return Err(StreamError::Closed);
        }
        Ok(self.piece.split_to(size.min(self.piece.len())))
    }
}
