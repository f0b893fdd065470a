//! [`JobStore`]: keeps jobs, their attempts and their output, so that they survive the daemon.
//!
//! A worker claims a job and gets a [`Lease`]. The lease names the attempt, and an attempt is finished once: who finishes an attempt that is
//! not running any more gets [`AttemptError::Stale`]. That is all that the store promises about concurrency, so that it can be kept by a
//! database on one machine or by a cluster. No call needs another call to be in the same transaction.
//!
//! The leases of a store belong to the process that opened it. No other process can open it meanwhile, so a lease never passes from one
//! living worker to another because of a clock:
//! - A lease whose process has ended is lost when the store is opened again. Its attempt ends as `lost`, and the retry policy of the job
//!   decides what follows.
//! - A lease of the living process ends with [`JobStore::finish`], or with [`JobStore::expire`] if its worker sent no heartbeat in time by the
//!   monotonic clock.
//!
//! Jobs of a handler run by priority. Among those of the same priority, the concurrency keys take turns, and within a key the job that was
//! submitted first runs first. Handlers take turns whatever their priorities are.
//!
//! [`MemoryJobStore`] keeps everything in memory. The store on the disk is in the crate `capstan-store`.

mod claim;
mod dependency;
mod error;
mod event_numbers;
mod follow_up;
mod id;
mod limits;
mod lost;
mod memory;
mod output;
mod query;
mod record;
pub mod rules;
mod schedule;
mod store;
mod tables;
mod transitions;
mod watch;

pub use self::claim::{Capacity, ClaimRequest, Claimed, Exclusions, Finish, FinishedRun, Lease, Now, Then};
pub use self::dependency::{After, AfterMode, Dependency, Readiness, Requirement, refused_by};
pub use self::error::{AttemptError, ChangeError, JobStoreError, SubmitError};
pub use self::event_numbers::EventNumbers;
pub use self::follow_up::FollowUps;
pub use self::id::{JobIds, lowest_at};
pub use self::limits::{Retention, RetentionRule, StoreLimits};
pub use self::lost::after_lost_run;
pub use self::memory::MemoryJobStore;
pub use self::output::{OutputChunk, OutputPage, OutputPiece};
pub use self::query::{JobDetails, JobFilter, JobPage, QueueStatus};
pub use self::record::{ArrayIndex, AttemptRecord, End, JobRecord, NewJob, Plan, State, SubmitKey, Submitted};
pub use self::schedule::{Firing, ScheduleRecord};
pub use self::store::JobStore;
pub use self::tables::Tables;
pub use self::watch::{Change, ChangedState, Changes, JobWatch, Listener, Watchers};
