//! [`NewJob`], [`JobRecord`] and [`AttemptRecord`]: what is submitted, and what the store knows of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use capstan_core::caller::Caller;
use capstan_core::env::Env;
use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::policy::PolicyRequest;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dependency::After;
use crate::handler::HandlerName;
use crate::job::JobId;
use capstan_core::retry::{RetryPolicy, RunCount};

/// What a run of the job gets, as it was requested. The store does not look into it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    pub args: Vec<String>,
    pub env: Env,
    pub policy: PolicyRequest,
    pub retry: RetryPolicy,
    /// The job whose stdout is the stdin of the run, after what was submitted as stdin.
    pub stdin_from: Option<JobId>,
    /// Variables whose values are what jobs have printed to stdout, without the last line break.
    pub env_from: BTreeMap<String, JobId>,
    /// Who submitted the job, as the API shows it.
    pub caller: Option<Caller>,
    /// The digest of the program that the handler had when the job was submitted.
    pub digest: Option<String>,
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// A new id, see [`JobIds`](super::JobIds).
    pub id: JobId,
    pub handler: HandlerName,
    pub plan: Plan,
    /// All of stdin.
    pub stdin: Bytes,
    pub labels: BTreeMap<String, String>,
    /// Jobs of a handler with the same key share a concurrency limit, and a fair share of the handler.
    pub concurrency_key: Option<String>,
    /// Jobs of a handler with a higher priority run first. 0 is normal.
    pub priority: i32,
    /// The job does not run before this time.
    pub not_before: Option<Timestamp>,
    /// The job is refused if its first run has not started by this time.
    pub start_deadline: Option<Timestamp>,
    pub key: Option<SubmitKey>,
    /// The array that the job is a part of.
    pub array: Option<ArrayIndex>,
    /// The job that submitted this one.
    pub parent: Option<JobId>,
    pub after: After,
    /// The store refuses the job if so many jobs of the handler have not ended.
    pub queue_limit: Option<u64>,
}

/// An idempotency key: a request that is sent several times makes one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitKey {
    pub text: String,
    /// A digest of the request. The same key with another digest is an error.
    pub digest: [u8; 32],
    /// The key is forgotten after this time.
    pub expires: Timestamp,
}

/// The place of a job in an array of jobs that were submitted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayIndex {
    /// The id of the first job of the array.
    pub array: JobId,
    pub index: u32,
}

/// A submitted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job: the new one, or the one that has the same idempotency key.
    pub job: JobId,
    pub state: State,
    /// Whether the job is new.
    pub is_new: bool,
}

/// Where a job is in its life.
///
/// ```text
///             ┌──────────▶ Queued ◀─────────────── Retrying ◀──┐
/// submit ─────┼▶ Scheduled ──┘ │  ▲ time is up                 │ failed, will be repeated
///             └▶ Waiting ──────┘  │                            │
///                                 └── claim ──▶ Running ───────┤
///                                                              ├──▶ Done
///                                                              └──▶ Dead   (failed for good although it asked for retries)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has a `not_before` in the future.
    Scheduled,
    /// Jobs that it depends on have not ended.
    Waiting,
    Queued,
    Running,
    /// A run failed, and the next one starts later.
    Retrying,
    Done,
    /// A dead letter.
    Dead,
}

/// What the store knows of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub handler: HandlerName,
    pub plan: Plan,
    pub labels: BTreeMap<String, String>,
    pub concurrency_key: Option<String>,
    pub priority: i32,
    pub not_before: Option<Timestamp>,
    pub start_deadline: Option<Timestamp>,
    pub key: Option<String>,
    pub array: Option<ArrayIndex>,
    pub parent: Option<JobId>,
    pub after: After,
    pub state: State,
    pub submitted: Timestamp,
    /// When a job that is scheduled or retrying becomes queued.
    pub due: Option<Timestamp>,
    /// The number of the last attempt; 0 before the first.
    pub attempt: u32,
    /// The runs that count for its retries.
    pub runs: RunCount,
    /// Who requested its cancellation while it was running.
    pub cancel_requested: Option<CancelledBy>,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// Whether it was a run that needed no queue. What it got and what it printed is not stored then.
    pub is_synchronous: bool,
}

/// How a job or an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub outcome: Outcome,
    /// Why it was no success, in one line.
    pub error: Option<String>,
    pub at: Timestamp,
}

/// One run of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Counted from 1.
    pub number: u32,
    /// The worker that has or had the lease.
    pub worker: String,
    pub started: Timestamp,
    /// How it ended, or `None` while it runs.
    pub end: Option<End>,
    pub usage: UsageReport,
    /// The bytes that it has printed, the dropped ones included.
    pub output: u64,
}

impl State {
    /// All states, in the order of their stored numbers.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Waiting, Self::Queued, Self::Running, Self::Retrying, Self::Done, Self::Dead];

    /// Returns the stable token, as in JSON.
    pub fn token(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Returns whether the job has ended. Only a requeue changes such a state.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

impl NewJob {
    /// Returns a job of `handler` that runs as soon as possible.
    pub fn new(id: JobId, handler: HandlerName) -> Self {
        Self {
            id,
            handler,
            plan: Plan::default(),
            stdin: Bytes::new(),
            labels: BTreeMap::new(),
            concurrency_key: None,
            priority: 0,
            not_before: None,
            start_deadline: None,
            key: None,
            array: None,
            parent: None,
            after: After::default(),
            queue_limit: None,
        }
    }
}

impl JobRecord {
    /// Returns the record of a job that is submitted at `now`. Its dependencies are `satisfied`, or must be waited for.
    pub fn submitted(job: &NewJob, now: Timestamp, satisfied: bool) -> Self {
        let later = job.not_before.filter(|time| *time > now);
        let state = match later {
            _ if !satisfied => State::Waiting,
            Some(_) => State::Scheduled,
            None => State::Queued,
        };
        Self {
            id: job.id,
            handler: job.handler.clone(),
            plan: job.plan.clone(),
            labels: job.labels.clone(),
            concurrency_key: job.concurrency_key.clone(),
            priority: job.priority,
            not_before: job.not_before,
            start_deadline: job.start_deadline,
            key: job.key.as_ref().map(|key| key.text.clone()),
            array: job.array,
            parent: job.parent,
            after: job.after.clone(),
            state,
            submitted: now,
            due: later.filter(|_| state == State::Scheduled),
            attempt: 0,
            runs: RunCount::default(),
            cancel_requested: None,
            end: None,
            is_synchronous: false,
        }
    }
}
