//! The history of jobs: which jobs there are and were, and what they printed.
//!
//! [`HistoryStore`] is the boundary. The engine records the start and the end of each job in it, and the API reads it. [`MemoryHistory`]
//! stores the records in memory.

mod memory;
mod record;

use std::fmt;
use std::sync::Arc;

pub use self::memory::{DEFAULT_BYTES, DEFAULT_JOBS, HistoryLimits, MemoryHistory};
pub use self::record::{Filter, Page, Record};
use crate::job::{DuplicateKey, IdempotencyKey, Job, JobEnd, JobId};
use crate::output_log::OutputLog;

/// Stores the records of jobs. No method waits for anything but a short lock.
pub trait HistoryStore: fmt::Debug + Send + Sync + 'static {
    /// Returns a log for the output of a job that is about to be built.
    fn new_log(&self) -> OutputLog;

    /// Records that `job` was admitted. Its run has not started yet, and starts only if this succeeds.
    ///
    /// # Errors
    /// Returns [`DuplicateKey`] if a recorded job has the same key.
    fn record_start(&self, job: &Job) -> Result<(), DuplicateKey>;

    /// Records the end of `job`. Does nothing if the job was removed.
    fn record_end(&self, job: &Job, end: &Arc<JobEnd>);

    /// Returns the record of a job.
    fn find(&self, job: JobId) -> Option<Record>;

    /// Returns the ids of recorded jobs that start with the hexadecimal digits of `prefix`, at most two of them: more is not needed to know
    /// whether the prefix names one job.
    fn find_by_prefix(&self, prefix: &str) -> Vec<JobId>;

    /// Checks that no recorded job has `key`.
    ///
    /// # Errors
    /// Returns [`DuplicateKey`] if a recorded job has it.
    fn check_key(&self, key: &IdempotencyKey) -> Result<(), DuplicateKey>;

    /// Returns the records that match `filter` and have lower numbers than `before`, starting with the highest number: at most `limit`.
    fn list(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page;

    /// Removes the record of a job that has ended.
    ///
    /// # Errors
    /// Returns [`RemoveError`] if there is no such job, or it has not ended.
    fn remove(&self, job: JobId) -> Result<(), RemoveError>;
}

/// Why the record of a job was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error("no job {0}")]
    Unknown(JobId),
    #[error("job {0} has not ended; cancel it or wait for its end first")]
    NotEnded(JobId),
}
