//! [`DataStore`]: a store of buckets and objects.

use std::fmt;

use super::bucket_store::BucketStore;
use super::object_store::ObjectStore;

/// A store of buckets and objects.
pub trait DataStore: BucketStore + ObjectStore + fmt::Debug {}

impl<T: BucketStore + ObjectStore + fmt::Debug> DataStore for T {}
