//! What handlers keep between their runs: buckets of keys and values, and containers of objects.
//!
//! [`HandlerData`] is what one handler has, as a value: whoever holds it can reach the data of that handler and of no other. It checks names
//! and sizes. A [`BucketStore`] and an [`ObjectStore`] keep the data and apply the [`DataQuota`].
//!
//! Data belongs to the name of a handler. It stays if the handler is replaced or removed.

mod bucket_store;
mod error;
mod handler_data;
mod names;
mod object_store;

use std::fmt;

pub use self::bucket_store::{BucketInfo, BucketStore, Change, DataUsage, Entry, KeyPage, Place};
pub use self::error::DataError;
pub use self::handler_data::{HandlerData, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_PAGE, MAX_VALUE};
pub use self::names::{DEFAULT_BUCKET, MAX_BUCKET_NAME, MAX_KEY};
pub use self::object_store::{CHUNK, ContainerInfo, ObjectInfo, ObjectPage, ObjectReader, ObjectStore, Upload};

/// How much a handler may keep, in all of its buckets and containers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataQuota {
    /// Bytes of keys, values, names and objects.
    pub bytes: u64,
    /// Keys, objects and containers.
    pub keys: u64,
}

/// A store of buckets and objects.
pub trait DataStore: BucketStore + ObjectStore + fmt::Debug {}

impl<T: BucketStore + ObjectStore + fmt::Debug> DataStore for T {}
