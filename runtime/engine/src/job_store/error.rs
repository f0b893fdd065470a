//! [`JobStoreError`]: why the store cannot do what it should.

use std::fmt;
use std::sync::Arc;

use crate::job::JobId;

/// Why the store failed. Nothing has changed. One failure may be the answer to many calls, because they share a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobStoreError {
    /// The store works again once there is space.
    #[error("the job store is full: the disk or a quota has no space left; make room, or lower its retention")]
    Full,
    #[error("cannot {action} in the job store: {reason}")]
    Io { action: Arc<str>, reason: Arc<str> },
    /// What was read is not what was written.
    #[error(
        "{what} in the job store is damaged: {reason}; run `capstan store check`, and restore a backup if it reports more"
    )]
    Damaged { what: Arc<str>, reason: Arc<str> },
    /// An earlier failure left it unknown what is on the disk. Opening the store again finds out.
    #[error("the job store stopped after a failure of the disk ({0}); restart the daemon")]
    Stopped(Arc<str>),
    #[error("the job store was closed")]
    Closed,
}

/// Why a job was not submitted. Other jobs of the same batch are not affected, except those of its array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the idempotency key belongs to job {job}, which was submitted with another request; use another key")]
    KeyReused { job: JobId },
    #[error("a job with the id {0} exists")]
    DuplicateId(JobId),
    #[error("the job waits for job {0}, which does not exist")]
    UnknownDependency(JobId),
    #[error("{what} has {size}, and the limit is {limit}")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("the queue of the handler has {limit} jobs, which is its limit; try again later")]
    QueueFull { limit: u64 },
}

/// Why an attempt did not take a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// The attempt has ended: it was recorded as lost, or somebody else finished it. What it reports now is not recorded.
    #[error("attempt {attempt} of job {job} is not running any more; what it reports is not recorded")]
    Stale { job: JobId, attempt: u32 },
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

/// Why a job was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("no job {0}")]
    Unknown(JobId),
    #[error("job {0} has not ended; cancel it or wait for its end first")]
    NotEnded(JobId),
    #[error("job {0} has ended")]
    Ended(JobId),
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

impl JobStoreError {
    /// Returns the error for `reason`, which occurred while the store tried to `action`.
    pub fn io(action: impl Into<Arc<str>>, reason: impl fmt::Display) -> Self {
        Self::Io { action: action.into(), reason: reason.to_string().into() }
    }

    /// Returns the error for `what`, whose content is wrong.
    pub fn damaged(what: impl Into<Arc<str>>, reason: impl fmt::Display) -> Self {
        Self::Damaged { what: what.into(), reason: reason.to_string().into() }
    }
}
