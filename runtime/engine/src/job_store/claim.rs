//! [`ClaimRequest`], [`Lease`] and [`Finish`]: how a worker takes a job, and how it reports the end.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::record::{End, JobRecord, NewJob};
use crate::job::JobId;

/// A reading of both clocks. Times that people give are compared with the wall clock. Leases are judged by the monotonic clock, so that a wall
/// clock which jumps neither ends nor extends one.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: Timestamp,
    pub monotonic: Instant,
}

/// A request for jobs to run.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// How many jobs at most.
    pub limit: usize,
    /// How long the leases last without a heartbeat.
    pub lease: Duration,
    /// The worker, as attempts show it.
    pub worker: String,
    /// How many jobs of a handler or of a concurrency key can run now. Paused queues are excluded in any case.
    pub capacity: Arc<dyn Capacity>,
    /// Bytes of stdin. No more jobs are taken once those that were have so much.
    pub stdin: u64,
}

/// How many more jobs can run at this moment.
pub trait Capacity: fmt::Debug + Send + Sync {
    /// Returns how many jobs of `handler` can start. `usize::MAX` is no limit.
    fn of_handler(&self, handler: &str) -> usize;

    /// Returns how many jobs of `handler` with the concurrency key `key` can start.
    fn of_key(&self, handler: &str, key: &str) -> usize;
}

/// A [`Capacity`] without limits, except for what cannot run at all.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    /// Handlers that are at their limit.
    pub handlers: BTreeSet<String>,
    /// Concurrency keys that are at their limit, each with its handler.
    pub keys: BTreeSet<(String, String)>,
}

/// The right to run one attempt of a job. Only its holder can finish the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub job: JobId,
    pub attempt: u32,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub lease: Lease,
    pub job: JobRecord,
    pub stdin: Bytes,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Finish {
    pub lease: Lease,
    pub end: End,
    pub usage: UsageReport,
    pub then: Then,
}

/// A job that was run without the queue, and has ended.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    pub job: NewJob,
    /// The worker, as the attempt shows it.
    pub worker: String,
    pub started: Timestamp,
    pub end: End,
    pub usage: UsageReport,
}

/// What follows the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The job has ended as the attempt did.
    Done,
    /// The job runs again, not before this time.
    Retry(Timestamp),
    /// The job has ended as the attempt did, and is a dead letter.
    Dead,
}

impl Now {
    /// Reads both clocks. The wall clock is rounded down to a microsecond, which is what stores keep.
    pub fn read() -> Self {
        Self { wall: whole_microseconds(Timestamp::now()), monotonic: Instant::now() }
    }

    /// Returns the reading `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let wall = self.wall.checked_add(duration).unwrap_or(Timestamp::MAX);
        Self { wall: whole_microseconds(wall), monotonic: self.monotonic + duration }
    }
}

fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

impl ClaimRequest {
    /// Returns a request of `worker` for at most `limit` jobs of any handlers and keys.
    pub fn new(worker: impl Into<String>, limit: usize, lease: Duration) -> Self {
        Self { limit, lease, worker: worker.into(), capacity: Arc::new(Exclusions::default()), stdin: u64::MAX }
    }
}

impl Capacity for Exclusions {
    fn of_handler(&self, handler: &str) -> usize {
        if self.handlers.contains(handler) { 0 } else { usize::MAX }
    }

    fn of_key(&self, handler: &str, key: &str) -> usize {
        if self.keys.contains(&(handler.to_owned(), key.to_owned())) { 0 } else { usize::MAX }
    }
}
