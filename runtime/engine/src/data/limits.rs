//! How large names, values and calls may be, and the quota of a handler.

/// Bytes of the longest name of a bucket or a container.
pub const MAX_BUCKET_NAME: usize = 128;
/// Bytes of the longest key or name of an object.
pub const MAX_KEY: usize = 1024;
/// Bytes of the largest value. Larger ones are objects.
pub const MAX_VALUE: usize = 1 << 20;
/// Keys in one call.
pub const MAX_BATCH_KEYS: usize = 1000;
/// Bytes of the values in one call. It is less than what one host call may copy, so that a larger call is an error and no trap.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// Names in one page of a list.
pub const MAX_PAGE: usize = 1000;

/// How much a handler may keep, in all of its buckets and containers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataQuota {
    /// Bytes of keys, values, names and objects.
    pub bytes: u64,
    /// Keys, objects and containers.
    pub keys: u64,
}
