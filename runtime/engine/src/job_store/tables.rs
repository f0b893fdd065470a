//! [`Tables`]: what the rules of the queue need from a place that keeps data.

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::claim::Lease;
use super::error::JobStoreError;
use super::record::{AttemptRecord, End, JobRecord, Plan, State, SubmitKey};
use super::schedule::ScheduleRecord;
use crate::job::JobId;

type Result<T> = std::result::Result<T, JobStoreError>;

/// The tables of a store, inside one transaction. The methods do what they say and decide nothing; the rules do.
pub trait Tables {
    /// Returns a job.
    fn job(&mut self, id: JobId) -> Result<Option<JobRecord>>;
    /// Adds a job.
    fn insert_job(&mut self, job: &JobRecord, stdin: &Bytes, key: Option<&SubmitKey>) -> Result<()>;
    /// Saves what a transition can change. `before` is the state that is stored.
    fn update_job(&mut self, job: &JobRecord, before: State) -> Result<()>;
    /// Ends a job whose record cannot be read, without reading it.
    fn quarantine(&mut self, id: JobId, end: &End) -> Result<()>;
    /// Replaces the plan of a job.
    fn update_plan(&mut self, id: JobId, plan: &Plan) -> Result<()>;
    /// Removes a job that has ended, with its attempts, output and labels. Its idempotency key stays until it expires.
    fn remove_job(&mut self, job: &JobRecord) -> Result<()>;
    /// Returns the stdin of a job.
    fn stdin(&mut self, id: JobId) -> Result<Bytes>;

    /// Returns the first handler by name that has queued jobs and sorts after `after`.
    fn next_handler(&mut self, after: Option<&str>) -> Result<Option<String>>;
    /// Returns the highest priority below `below` that queued jobs of `handler` have.
    fn next_priority(&mut self, handler: &str, below: Option<i32>) -> Result<Option<i32>>;
    /// Returns the first concurrency key after `after` among the queued jobs of `handler` with `priority`, and its first job.
    fn next_lane(&mut self, handler: &str, priority: i32, after: Option<&str>) -> Result<Option<(String, JobId)>>;
    /// Returns scheduled and retrying jobs that come due by `now`, the first one first.
    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>>;
    /// Returns jobs whose start deadline is `now` or earlier and that wait for their first run.
    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>>;
    /// Returns running jobs.
    fn running(&mut self, limit: usize) -> Result<Vec<JobId>>;
    /// Returns how many jobs of `handler` have not ended.
    fn depth(&mut self, handler: &str) -> Result<u64>;
    /// Returns whether the queue of `handler` is paused.
    fn is_paused(&mut self, handler: &str) -> Result<bool>;

    /// Adds an attempt that runs.
    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRecord) -> Result<()>;
    /// Saves the end of an attempt.
    fn finish_attempt(&mut self, lease: Lease, end: &End, usage: &UsageReport) -> Result<()>;

    /// Returns the job that has an idempotency key, the digest of its request, and when the key expires.
    fn key(&mut self, text: &str) -> Result<Option<(JobId, SubmitKey)>>;
    /// Removes keys that have expired.
    fn remove_expired_keys(&mut self, now: Timestamp, limit: usize) -> Result<()>;

    /// Adds the dependencies of a new job, and whether they ended as required.
    fn insert_edges(&mut self, dependant: &JobRecord, met: &[Option<bool>]) -> Result<()>;
    /// Saves how `dependency` ended for those that wait for it. Returns them.
    fn resolve_edges(&mut self, dependency: JobId, outcome: &Outcome) -> Result<Vec<JobId>>;
    /// Returns whether each dependency of a job ended as required.
    fn edges(&mut self, dependant: JobId) -> Result<Vec<Option<bool>>>;

    /// Returns a schedule.
    fn schedule(&mut self, name: &str) -> Result<Option<ScheduleRecord>>;
    /// Adds or replaces a schedule.
    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()>;

    /// Returns the handlers that have ended jobs.
    fn ended_handlers(&mut self) -> Result<Vec<String>>;
    /// Returns the ended jobs of `handler` that ended first, with the time of their end.
    fn first_ended(&mut self, handler: &str, limit: usize) -> Result<Vec<(JobId, Timestamp)>>;
    /// Returns how many ended jobs `handler` has.
    fn count_ended(&mut self, handler: &str) -> Result<u64>;
    /// Returns the bytes of output that the jobs of `handler` have.
    fn output_bytes(&mut self, handler: &str) -> Result<u64>;
}
