//! [`WaitReason`]: why a job has not started.

use jiff::Timestamp;
use serde::Serialize;

use super::Queue;
use super::capacity::EngineCapacity;
use crate::job::JobId;
use crate::job_store::{Capacity as _, JobRecord, State};

/// Why a job has not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum WaitReason {
    /// Its time has not come.
    NotBefore { time: Timestamp },
    /// A run has failed, and the next one starts later.
    Retry { time: Timestamp, attempts: u32 },
    /// Jobs that it depends on have not ended as required.
    Dependencies { jobs: Vec<JobId> },
    /// The queue of its handler is paused.
    Paused,
    /// As many jobs of its handler run as may.
    HandlerLimit,
    /// As many jobs with its concurrency key run as may.
    KeyLimit,
    /// The rate limit of its handler allows no job now.
    RateLimit,
    /// All slots of the daemon are in use.
    NoSlot,
    /// The daemon stops, and the job runs after its next start.
    Stopping,
    /// Others are before it.
    Turn,
}

impl Queue {
    /// Returns why `job` has not started, or `None` if it runs or has ended. `is_paused` says whether its queue is paused.
    pub fn why_waits(&self, job: &JobRecord, is_paused: bool) -> Option<WaitReason> {
        let due = job.due.unwrap_or(job.submitted);
        match job.state {
            State::Running | State::Done | State::Dead => None,
            State::Scheduled => Some(WaitReason::NotBefore { time: due }),
            State::Retrying => Some(WaitReason::Retry { time: due, attempts: job.attempt }),
            State::Waiting => {
                let jobs = job.after.jobs.iter().map(|dependency| dependency.job).collect();
                Some(WaitReason::Dependencies { jobs })
            }
            State::Queued => Some(self.why_queued(job, is_paused)),
        }
    }

    fn why_queued(&self, job: &JobRecord, is_paused: bool) -> WaitReason {
        let engine = &self.0.engine;
        let capacity = EngineCapacity(self.clone());
        let (handler, key) = (job.handler.as_str(), job.concurrency_key.as_deref());
        if engine.is_shutting_down() {
            WaitReason::Stopping
        } else if is_paused {
            WaitReason::Paused
        } else if capacity.concurrency_of_handler(handler) == 0 {
            WaitReason::HandlerLimit
        } else if key.is_some_and(|key| capacity.of_key(handler, key) == 0) {
            WaitReason::KeyLimit
        } else if capacity.of_handler(handler) == 0 {
            WaitReason::RateLimit
        } else if engine.counts().free == 0 {
            WaitReason::NoSlot
        } else {
            WaitReason::Turn
        }
    }
}
