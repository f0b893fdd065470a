//! [`BucketStore`]: keeps keys and values.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use super::error::DataError;
use super::limits::DataQuota;

/// A bucket or a container of a handler.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The name of the handler.
    pub owner: Arc<str>,
    pub name: Arc<str>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// Which write this value is of. No later write has the same number.
    pub revision: u64,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set { key: String, value: Bytes },
    Delete { key: String },
}

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    pub keys: Vec<String>,
    /// Where the next page begins. `None` after the last one.
    pub next: Option<u64>,
}

/// A bucket in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketInfo {
    pub name: String,
    pub keys: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// What a handler keeps in all of its buckets and containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DataUsage {
    pub bytes: u64,
    pub keys: u64,
}

/// Keeps keys and values. A bucket exists while it has a key.
///
/// A change has happened, and survives a crash, once its call has returned. If the future of a change is dropped, all of it happens or nothing.
/// All errors are [`DataError`].
#[async_trait]
pub trait BucketStore: Send + Sync {
    /// Returns the values of `keys`, in their order and all of one moment.
    async fn get(&self, bucket: &Place, keys: Vec<String>) -> Result<Vec<Option<Entry>>, DataError>;

    /// Returns which of `keys` exist.
    async fn exists(&self, bucket: &Place, key: String) -> Result<bool, DataError>;

    /// Makes all of `changes`, or none.
    async fn change(&self, bucket: &Place, changes: Vec<Change>, quota: DataQuota) -> Result<(), DataError>;

    /// Adds `delta` to the decimal number of `key`, which is 0 if there is none, and returns the sum. The sum must be in `range`.
    async fn increment(
        &self,
        bucket: &Place,
        key: String,
        delta: i128,
        range: RangeInclusive<i128>,
        quota: DataQuota,
    ) -> Result<i128, DataError>;

    /// Sets `key` to `value` if its revision is `expected`, where `None` means that it does not exist. Returns whether it was set.
    async fn swap(
        &self,
        bucket: &Place,
        key: String,
        expected: Option<u64>,
        value: Bytes,
        quota: DataQuota,
    ) -> Result<bool, DataError>;

    /// Returns at most `limit` keys after `cursor`, in the order of their creation. Keys that exist from the first page to the last are in
    /// exactly one of them.
    async fn list_keys(&self, bucket: &Place, cursor: u64, limit: usize) -> Result<KeyPage, DataError>;

    /// Returns at most `limit` buckets of a handler whose names are after `after`, by name.
    async fn list_buckets(&self, owner: &str, after: &str, limit: usize) -> Result<Vec<BucketInfo>, DataError>;

    /// Returns what a handler keeps.
    async fn usage(&self, owner: &str) -> Result<DataUsage, DataError>;

    /// Removes all buckets and containers of a handler.
    async fn remove_all(&self, owner: &str) -> Result<(), DataError>;
}
