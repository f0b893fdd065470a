//! [`FollowUps`]: the jobs that follow the end of another job.

use std::fmt;

use super::record::{JobRecord, NewJob};

/// Decides which jobs follow the end of a job.
///
/// A store asks inside the transaction that records the end, and submits the jobs in the same transaction. So each end has its follow-ups, or
/// neither is recorded. It asks for every end: also for one without a run, and for a run that was lost with the daemon. It does not ask for a
/// job whose record is damaged.
pub trait FollowUps: fmt::Debug + Send + Sync {
    /// Returns the jobs that follow the end of `ended`, with new ids. Must not block. A job that follows the end of its own kind would be
    /// submitted again and again.
    ///
    /// The store does not apply the limits on the sizes of jobs to them.
    fn follow_ups(&self, ended: &JobRecord) -> Vec<NewJob>;
}
