//! [`DataError`]: why data of a handler was not read or changed.

use std::fmt;
use std::sync::Arc;

use super::limits::{MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_BUCKET_NAME, MAX_KEY, MAX_VALUE};

/// Why data of a handler was not read or changed. Nothing has changed. One failure of the store may be the answer to many calls, because they
/// share a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The policy of the handler grants it no data.
    #[error("the handler may keep no data: its limit `keyvalue` is 0")]
    Denied,
    #[error(
        "{0:?} is not a name of a bucket or a container; it has 1 to {MAX_BUCKET_NAME} bytes and no control characters"
    )]
    InvalidBucket(Box<str>),
    #[error("a key or the name of an object has {0} bytes; it must have 1 to {MAX_KEY}")]
    InvalidKey(usize),
    #[error("a value has {0} bytes, and the limit is {MAX_VALUE}")]
    ValueTooLarge(u64),
    #[error("one call names more than {MAX_BATCH_KEYS} keys, or values of more than {MAX_BATCH_BYTES} bytes together")]
    BatchTooLarge,
    #[error("quota exceeded: the handler may keep {0} bytes (limit `keyvalue`)")]
    QuotaBytes(u64),
    #[error("quota exceeded: the handler may keep {0} keys and objects (limit `keys`)")]
    QuotaKeys(u64),
    #[error("the value is not a decimal number, so it cannot be incremented")]
    NotANumber,
    #[error("the sum is outside of the range of the counter")]
    Overflow,
    #[error("there is no container {0:?}")]
    NoContainer(Box<str>),
    #[error("there is a container {0:?} already")]
    ContainerExists(Box<str>),
    #[error("there is no object {0:?}")]
    NoObject(Box<str>),
    #[error("the object was discarded before it was complete")]
    Discarded,
    /// The store works again once there is space.
    #[error("the store of data is full: the disk or a quota has no space left; make room")]
    Full,
    #[error("cannot {action} in the store of data: {reason}")]
    Io { action: Arc<str>, reason: Arc<str> },
    /// What was read is not what was written.
    #[error("{what} in the store of data is damaged: {reason}; run `capstan store check`, and restore a backup")]
    Damaged { what: Arc<str>, reason: Arc<str> },
    /// An earlier failure left it unknown what is on the disk. Opening the store again finds out.
    #[error("the store of data stopped after a failure of the disk ({0}); restart the daemon")]
    Stopped(Arc<str>),
    #[error("the store of data was closed")]
    Closed,
}

impl DataError {
    /// Returns the error for `reason`, which occurred while the store tried to `action`.
    pub fn io(action: impl Into<Arc<str>>, reason: impl fmt::Display) -> Self {
        Self::Io { action: action.into(), reason: reason.to_string().into() }
    }

    /// Returns the error for `what`, whose content is wrong.
    pub fn damaged(what: impl Into<Arc<str>>, reason: impl fmt::Display) -> Self {
        Self::Damaged { what: what.into(), reason: reason.to_string().into() }
    }

    /// Returns whether the store failed, and not the call.
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Full | Self::Io { .. } | Self::Damaged { .. } | Self::Stopped(_) | Self::Closed)
    }
}
