//! [`ObjectStore`]: keeps objects in containers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::bucket_store::Place;
use super::error::DataError;
use super::limits::DataQuota;

/// Bytes of the pieces in which objects are written and read.
pub const CHUNK: usize = 256 << 10;

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerInfo {
    pub created: Timestamp,
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub created: Timestamp,
    pub size: u64,
}

/// Some names of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    pub names: Vec<String>,
    /// Where the next page begins. `None` after the last one.
    pub next: Option<u64>,
}

/// An object that is being written. Nobody else sees it. Dropping it before [`Upload::finish`] discards it.
#[async_trait]
pub trait Upload: fmt::Debug + Send + Sync {
    /// Appends a piece, which has [`CHUNK`] bytes unless it is the last one.
    ///
    /// # Errors
    /// [`DataError`]. The object is then discarded.
    async fn append(&mut self, piece: Bytes) -> Result<(), DataError>;

    /// Makes it the object of each of `names`, and removes those that had the names. Survives a crash once it has returned.
    ///
    /// # Errors
    /// [`DataError`]. The object is then discarded.
    async fn finish(self: Box<Self>, names: Vec<(Place, String)>) -> Result<(), DataError>;
}

/// An object that is read. Its bytes stay until it is dropped, even if the object is replaced or removed.
#[async_trait]
pub trait ObjectReader: fmt::Debug + Send + Sync {
    /// Returns its size in bytes.
    fn size(&self) -> u64;

    /// Returns the piece with the number `index`: the bytes from `index` × [`CHUNK`] on.
    ///
    /// # Errors
    /// [`DataError`]
    async fn piece(&self, index: u64) -> Result<Bytes, DataError>;
}

/// Keeps objects in containers. All errors are [`DataError`]. Changes are as those of a [`BucketStore`](super::bucket_store::BucketStore).
#[async_trait]
pub trait ObjectStore: Send + Sync {
    async fn create_container(&self, container: &Place, quota: DataQuota) -> Result<(), DataError>;

    /// Returns a container, or `None` if it does not exist.
    async fn container(&self, container: &Place) -> Result<Option<ContainerInfo>, DataError>;

    /// Removes a container with its objects, if it exists.
    async fn remove_container(&self, container: &Place) -> Result<(), DataError>;

    /// Removes all objects of a container.
    async fn clear(&self, container: &Place) -> Result<(), DataError>;

    /// Begins to write an object of a handler.
    async fn begin(&self, owner: Arc<str>, quota: DataQuota) -> Result<Box<dyn Upload>, DataError>;

    /// Opens an object.
    async fn open(&self, container: &Place, name: String) -> Result<Box<dyn ObjectReader>, DataError>;

    /// Returns an object, or `None` if it does not exist.
    async fn object(&self, container: &Place, name: String) -> Result<Option<ObjectInfo>, DataError>;

    /// Removes those of the objects that exist.
    async fn remove_objects(&self, container: &Place, names: Vec<String>) -> Result<(), DataError>;

    /// Makes the object `from` also that of `to`. If `moves`, it is no longer that of `from`.
    async fn copy(
        &self,
        from: (Place, String),
        to: (Place, String),
        moves: bool,
        quota: DataQuota,
    ) -> Result<(), DataError>;

    /// Returns at most `limit` names of objects after `cursor`, in the order of their creation.
    async fn list_objects(&self, container: &Place, cursor: u64, limit: usize) -> Result<ObjectPage, DataError>;
}
