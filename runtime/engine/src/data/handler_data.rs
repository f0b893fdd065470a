//! [`HandlerData`]: the data of one handler.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket_store::{BucketInfo, Change, DataUsage, Entry, KeyPage, Place};
use super::data_store::DataStore;
use super::error::DataError;
use super::limits::{DataQuota, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_PAGE, MAX_VALUE};
use super::names::{check_bucket, check_key};
use super::object_store::{ContainerInfo, ObjectInfo, ObjectPage, ObjectReader, Upload};

/// The bucket that the empty name means.
pub const DEFAULT_BUCKET: &str = "default";

/// The data of one handler. Clones reach the same data. All errors are [`DataError`].
#[derive(Clone, Debug)]
pub struct HandlerData {
    store: Arc<dyn DataStore>,
    owner: Arc<str>,
    quota: DataQuota,
}

impl HandlerData {
    /// Returns the data that `store` keeps for the handler `owner`.
    pub fn new(store: Arc<dyn DataStore>, owner: Arc<str>, quota: DataQuota) -> Self {
        Self { store, owner, quota }
    }

    /// Returns the bucket `name`; the empty name means [`DEFAULT_BUCKET`]. It need not exist.
    pub fn bucket(&self, name: &str) -> Result<Place, DataError> {
        self.place(if name.is_empty() { DEFAULT_BUCKET } else { name })
    }

    /// Returns the container `name`, which need not exist.
    pub fn place(&self, name: &str) -> Result<Place, DataError> {
        if self.quota.bytes == 0 {
            return Err(DataError::Denied);
        }
        check_bucket(name)?;
        Ok(Place { owner: self.owner.clone(), name: name.into() })
    }

    /// Returns the value of `key`.
    pub async fn get(&self, bucket: &Place, key: String) -> Result<Option<Entry>, DataError> {
        check_key(&key)?;
        Ok(self.store.get(bucket, vec![key]).await?.pop().flatten())
    }

    /// Returns the values of `keys`, all of one moment.
    pub async fn get_many(&self, bucket: &Place, keys: Vec<String>) -> Result<Vec<Option<Entry>>, DataError> {
        check_batch(keys.iter().map(|key| (key.as_str(), 0)))?;
        self.store.get(bucket, keys).await
    }

    /// Returns whether `key` exists.
    pub async fn exists(&self, bucket: &Place, key: String) -> Result<bool, DataError> {
        check_key(&key)?;
        self.store.exists(bucket, key).await
    }

    /// Makes all of `changes`, or none.
    pub async fn change(&self, bucket: &Place, changes: Vec<Change>) -> Result<(), DataError> {
        check_batch(changes.iter().map(|change| match change {
            Change::Set { key, value } => (key.as_str(), value.len()),
            Change::Delete { key } => (key.as_str(), 0),
        }))?;
        if changes.is_empty() {
            return Ok(());
        }
        self.store.change(bucket, changes, self.quota).await
    }

    /// Adds `delta` to the decimal number of `key`, which is 0 if there is none, and returns the sum, which must be in `range`.
    pub async fn increment(
        &self,
        bucket: &Place,
        key: String,
        delta: i128,
        range: RangeInclusive<i128>,
    ) -> Result<i128, DataError> {
        check_key(&key)?;
        self.store.increment(bucket, key, delta, range, self.quota).await
    }

    /// Sets `key` if its revision is `expected`, where `None` means that it does not exist. Returns whether it was set.
    pub async fn swap(
        &self,
        bucket: &Place,
        key: String,
        expected: Option<u64>,
        value: Bytes,
    ) -> Result<bool, DataError> {
        check_key(&key)?;
        check_value(value.len())?;
        self.store.swap(bucket, key, expected, value, self.quota).await
    }

    /// Returns at most `limit` keys after `cursor`, which is 0 for the first page.
    pub async fn list_keys(&self, bucket: &Place, cursor: u64, limit: usize) -> Result<KeyPage, DataError> {
        self.store.list_keys(bucket, cursor, limit.min(MAX_PAGE)).await
    }

    /// Returns at most `limit` buckets whose names are after `after`.
    pub async fn list_buckets(&self, after: &str, limit: usize) -> Result<Vec<BucketInfo>, DataError> {
        self.store.list_buckets(&self.owner, after, limit.min(MAX_PAGE)).await
    }

    /// Returns what the handler keeps.
    pub async fn usage(&self) -> Result<DataUsage, DataError> {
        self.store.usage(&self.owner).await
    }

    /// Removes all buckets and containers.
    pub async fn remove_all(&self) -> Result<(), DataError> {
        self.store.remove_all(&self.owner).await
    }

    /// Creates a container.
    pub async fn create_container(&self, container: &Place) -> Result<(), DataError> {
        self.store.create_container(container, self.quota).await
    }

    /// Returns a container, or `None` if it does not exist.
    pub async fn container(&self, container: &Place) -> Result<Option<ContainerInfo>, DataError> {
        self.store.container(container).await
    }

    /// Removes a container with its objects, if it exists.
    pub async fn remove_container(&self, container: &Place) -> Result<(), DataError> {
        self.store.remove_container(container).await
    }

    /// Removes all objects of a container.
    pub async fn clear(&self, container: &Place) -> Result<(), DataError> {
        self.store.clear(container).await
    }

    /// Begins to write an object.
    pub async fn begin(&self) -> Result<Box<dyn Upload>, DataError> {
        self.store.begin(self.owner.clone(), self.quota).await
    }

    /// Opens an object.
    pub async fn open(&self, container: &Place, name: String) -> Result<Box<dyn ObjectReader>, DataError> {
        check_key(&name)?;
        self.store.open(container, name).await
    }

    /// Returns an object, or `None` if it does not exist.
    pub async fn object(&self, container: &Place, name: String) -> Result<Option<ObjectInfo>, DataError> {
        check_key(&name)?;
        self.store.object(container, name).await
    }

    /// Removes those of the objects that exist.
    pub async fn remove_objects(&self, container: &Place, names: Vec<String>) -> Result<(), DataError> {
        check_batch(names.iter().map(|name| (name.as_str(), 0)))?;
        self.store.remove_objects(container, names).await
    }

    /// Makes the object `from` also that of `to`. If `moves`, it is no longer that of `from`.
    pub async fn copy(&self, from: (Place, String), to: (Place, String), moves: bool) -> Result<(), DataError> {
        check_key(&from.1)?;
        check_key(&to.1)?;
        self.store.copy(from, to, moves, self.quota).await
    }

    /// Returns at most `limit` names of objects after `cursor`, which is 0 for the first page.
    pub async fn list_objects(&self, container: &Place, cursor: u64, limit: usize) -> Result<ObjectPage, DataError> {
        self.store.list_objects(container, cursor, limit.min(MAX_PAGE)).await
    }

    /// Checks the name that an object is to get.
    pub fn check_object_name(&self, name: &str) -> Result<(), DataError> {
        check_key(name)
    }
}

fn check_value(size: usize) -> Result<(), DataError> {
    if size > MAX_VALUE { Err(DataError::ValueTooLarge(size as u64)) } else { Ok(()) }
}

/// Checks the keys and the sizes of the values of one call.
fn check_batch<'a>(items: impl ExactSizeIterator<Item = (&'a str, usize)>) -> Result<(), DataError> {
    if items.len() > MAX_BATCH_KEYS {
        return Err(DataError::BatchTooLarge);
    }
    let mut total = 0;
    for (key, size) in items {
        check_key(key)?;
        check_value(size)?;
        total += size;
    }
    if total > MAX_BATCH_BYTES { Err(DataError::BatchTooLarge) } else { Ok(()) }
}
