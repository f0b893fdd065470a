//! [`JobStore`]: the trait of all stores.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use capstan_core::outcome::CancelledBy;
use jiff::Timestamp;

use super::claim::{ClaimRequest, Claimed, Finish, FinishedRun, Lease, Now};
use super::error::{AttemptError, ChangeError, JobStoreError, SubmitError};
use super::event_numbers::EventNumbers;
use super::limits::Retention;
use super::output::{OutputChunk, OutputPage};
use super::query::{JobDetails, JobFilter, JobPage, QueueStatus};
use super::record::{NewJob, Plan, State, Submitted};
use super::schedule::{Firing, ScheduleRecord};
use super::watch::Watchers;
use crate::job::JobId;

/// Keeps jobs.
///
/// What a call has changed survives a crash once the call returns. If its future is dropped, the change happens as a whole or not at all, and
/// the caller does not learn which.
#[async_trait]
pub trait JobStore: fmt::Debug + Send + Sync {
    /// Submits `jobs` in their order. Each result belongs to the job at its place; a job may depend on earlier ones. Of jobs of an array that
    /// follow each other, either all are refused or none.
    ///
    /// # Errors
    /// [`JobStoreError`], after which none of the jobs is submitted.
    async fn submit(&self, now: Now, jobs: Vec<NewJob>) -> Result<Vec<Result<Submitted, SubmitError>>, JobStoreError>;

    /// Takes queued jobs, at most [`ClaimRequest::limit`], and returns each with a lease. Does not wait for jobs.
    ///
    /// Jobs that came due become queued first. Jobs that missed their start deadline are refused.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn claim(&self, now: Now, request: ClaimRequest) -> Result<Vec<Claimed>, JobStoreError>;

    /// Extends `leases` to `duration` from now. Returns those that are not held any more, whose runs must stop.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn heartbeat(&self, now: Now, leases: Vec<Lease>, duration: Duration) -> Result<Vec<Lease>, JobStoreError>;

    /// Ends the attempts whose leases ran out, as `lost`. Returns them.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn expire(&self, now: Now) -> Result<Vec<Lease>, JobStoreError>;

    /// Records the end of an attempt and what follows. Returns the state that the job has then. A job whose cancellation was requested does
    /// not run again.
    ///
    /// # Errors
    /// [`AttemptError::Stale`] if the attempt has ended.
    async fn finish(&self, now: Now, finish: Finish) -> Result<State, AttemptError>;

    /// Records jobs that were run without the queue, so that history has them. Their keys, dependencies and limits are not looked at.
    ///
    /// # Errors
    /// [`JobStoreError`], after which none of them is recorded.
    async fn record_finished(&self, now: Now, runs: Vec<FinishedRun>) -> Result<(), JobStoreError>;

    /// Appends to the output of a running attempt. Returns the position after it.
    ///
    /// # Errors
    /// [`AttemptError::Stale`] if the attempt has ended.
    async fn append_output(&self, lease: Lease, chunks: Vec<OutputChunk>) -> Result<u64, AttemptError>;

    /// Reads the output of an attempt from `position` on: at most about `limit` bytes, at least one chunk. `None` if there is no such attempt.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn read_output(&self, lease: Lease, position: u64, limit: u64) -> Result<Option<OutputPage>, JobStoreError>;

    /// Returns the position of the first output of an attempt that was written at `since` or later; its end if there is none.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn output_position(&self, lease: Lease, since: Timestamp) -> Result<Option<u64>, JobStoreError>;

    /// Returns a job with its attempts.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn job(&self, job: JobId) -> Result<Option<JobDetails>, JobStoreError>;

    /// Returns the ids that start with the hexadecimal digits of `prefix`, at most two of them: more is not needed to know whether the prefix
    /// names one job.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn find_by_prefix(&self, prefix: &str) -> Result<Vec<JobId>, JobStoreError>;

    /// Returns the jobs that match `filter` and have lower ids than `before`, the highest id first: at most `limit`.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn query(&self, filter: JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, JobStoreError>;

    /// Returns those who watch the store.
    fn watchers(&self) -> &Watchers;

    /// Cancels a job. One that is not running ends at once. For one that is running the request is recorded; its worker ends the run.
    /// Returns the state that the job has then.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::Ended`].
    async fn cancel(&self, now: Now, job: JobId, by: CancelledBy) -> Result<State, ChangeError>;

    /// Queues a job that has ended, a dead letter for example, as if no run counted. `plan` replaces what its runs get.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::NotEnded`].
    async fn requeue(&self, now: Now, job: JobId, plan: Option<Plan>) -> Result<(), ChangeError>;

    /// Removes a job that has ended, with its attempts and output.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::NotEnded`].
    async fn remove(&self, job: JobId) -> Result<(), ChangeError>;

    /// Pauses or resumes the queue of `handler`. Jobs of a paused queue are not claimed.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn set_paused(&self, handler: &str, is_paused: bool) -> Result<(), JobStoreError>;

    /// Returns the queues that are paused or have jobs that have not ended, by name.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn queues(&self) -> Result<Vec<QueueStatus>, JobStoreError>;

    /// Creates a schedule or replaces the one with its name.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn put_schedule(&self, schedule: ScheduleRecord) -> Result<(), JobStoreError>;

    /// Returns all schedules, by name.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, JobStoreError>;

    /// Removes a schedule. Returns whether it existed.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn remove_schedule(&self, name: &str) -> Result<bool, JobStoreError>;

    /// Fires the schedule `name` for the time `due`: submits `jobs` and sets the next time, both or neither. Does nothing if the schedule does
    /// not have `due` as its next time, so that it fires once for each time however often this is called. `jobs` may be empty.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn fire(
        &self,
        now: Now,
        name: &str,
        due: Timestamp,
        next: Option<Timestamp>,
        jobs: Vec<NewJob>,
    ) -> Result<Firing, JobStoreError>;

    /// Returns the numbers of events that were put last.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn event_numbers(&self) -> Result<Option<EventNumbers>, JobStoreError>;

    /// Records which numbers of events are used.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn put_event_numbers(&self, numbers: EventNumbers) -> Result<(), JobStoreError>;

    /// Removes ended jobs that `retention` does not keep, and idempotency keys that have expired. Returns how many jobs it removed.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn remove_expired(&self, now: Now, retention: Retention) -> Result<u64, JobStoreError>;

    /// Returns when the next job comes due or misses its start deadline, so that the caller can claim then.
    ///
    /// # Errors
    /// [`JobStoreError`]
    async fn next_due(&self) -> Result<Option<Timestamp>, JobStoreError>;
}
