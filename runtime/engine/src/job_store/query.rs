//! [`JobFilter`], [`JobPage`] and [`QueueStatus`]: how the store is read.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::record::{AttemptRecord, JobRecord, State};
use crate::handler::HandlerName;
use crate::job::JobId;

/// Which jobs a list has. Empty fields match all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub handler: Option<String>,
    pub states: Vec<State>,
    /// The stable codes of outcome kinds. Jobs that have not ended match none.
    pub outcomes: Vec<String>,
    /// Labels that a job must have, all of them.
    pub labels: BTreeMap<String, String>,
    /// Jobs that were submitted at this time or later.
    pub since: Option<Timestamp>,
    /// Jobs that were submitted before this time.
    pub until: Option<Timestamp>,
    /// Jobs that have ended at this time or later.
    pub ended_since: Option<Timestamp>,
    /// A part of the error, in any case of its ASCII letters.
    pub error: Option<String>,
    pub array: Option<JobId>,
    pub parent: Option<JobId>,
}

/// A page of a list: the job with the highest id first.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    pub jobs: Vec<JobDetails>,
    /// Where the next page starts, or `None` on the last page. It stays valid for ever, because ids sort by time and do not change.
    pub next: Option<JobId>,
}

/// A job with its attempts, the first one first.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDetails {
    pub job: JobRecord,
    pub attempts: Vec<AttemptRecord>,
}

/// The queue of a handler.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStatus {
    pub handler: HandlerName,
    pub is_paused: bool,
    /// Jobs by state, for the states before the end.
    pub scheduled: u64,
    pub waiting: u64,
    pub queued: u64,
    pub running: u64,
    pub retrying: u64,
    /// When the job that has been queued for longest was submitted.
    pub oldest: Option<Timestamp>,
}

impl QueueStatus {
    /// Returns the status of a queue without jobs.
    pub fn empty(handler: HandlerName, is_paused: bool) -> Self {
        Self { handler, is_paused, scheduled: 0, waiting: 0, queued: 0, running: 0, retrying: 0, oldest: None }
    }

    /// Counts `jobs` in `state`. Those that have ended are not in the queue.
    pub fn count(&mut self, state: State, jobs: u64) {
        match state {
            State::Scheduled => self.scheduled += jobs,
            State::Waiting => self.waiting += jobs,
            State::Queued => self.queued += jobs,
            State::Running => self.running += jobs,
            State::Retrying => self.retrying += jobs,
            State::Done | State::Dead => {}
        }
    }
}

impl JobFilter {
    /// Returns whether `job` is in the list.
    pub fn matches(&self, job: &JobRecord) -> bool {
        let outcome = job.end.as_ref().map(|end| end.outcome.kind());
        let error = job.end.as_ref().and_then(|end| end.error.as_deref()).unwrap_or_default().to_ascii_lowercase();
        self.handler.as_ref().is_none_or(|handler| job.handler.as_str() == handler)
            && (self.states.is_empty() || self.states.contains(&job.state))
            && (self.outcomes.is_empty() || outcome.is_some_and(|kind| self.outcomes.iter().any(|name| name == kind)))
            && self.labels.iter().all(|(name, value)| job.labels.get(name) == Some(value))
            && self.since.is_none_or(|since| job.submitted >= since)
            && self.until.is_none_or(|until| job.submitted < until)
            && self.ended_since.is_none_or(|since| job.end.as_ref().is_some_and(|end| end.at >= since))
            && self.error.as_ref().is_none_or(|part| error.contains(&part.to_ascii_lowercase()))
            && self.array.is_none_or(|array| job.array.is_some_and(|place| place.array == array))
            && self.parent.is_none_or(|parent| job.parent == Some(parent))
    }
}
