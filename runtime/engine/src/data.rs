//! What handlers keep between their runs: buckets of keys and values, and containers of objects.
//!
//! [`HandlerData`] is what one handler has, as a value: whoever holds it can reach the data of that handler and of no other. It checks names
//! and sizes. A [`BucketStore`] and an [`ObjectStore`] keep the data and apply the [`DataQuota`].
//!
//! Data belongs to the name of a handler. It stays if the handler is replaced or removed.

mod bucket_store;
mod data_store;
mod error;
mod handler_data;
mod limits;
mod names;
mod object_store;

pub use self::bucket_store::{BucketInfo, BucketStore, Change, DataUsage, Entry, KeyPage, Place};
pub use self::data_store::DataStore;
pub use self::error::DataError;
pub use self::handler_data::{DEFAULT_BUCKET, HandlerData};
pub use self::limits::{DataQuota, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_BUCKET_NAME, MAX_KEY, MAX_PAGE, MAX_VALUE};
pub use self::object_store::{CHUNK, ContainerInfo, ObjectInfo, ObjectPage, ObjectReader, ObjectStore, Upload};
