//! [`Record`]: what history knows of one job, and [`Filter`]: which records a list has.

use std::sync::Arc;

use capstan_core::policy::{HttpRule, Rule};
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use crate::job::{Job, JobEnd, JobSpec, JobState};
use crate::output_log::OutputLog;

/// The bytes that a record takes besides the data it points to; an estimate.
const FIXED_SIZE: usize = 512;

/// What history knows of a job.
#[derive(Clone, Debug)]
pub struct Record {
    pub spec: Arc<JobSpec>,
    /// The output of the job, if it is stored.
    pub log: Option<OutputLog>,
    /// The bytes that the record counts for, without its log.
    pub(super) size: usize,
    number: u64,
    progress: Progress,
}

#[derive(Clone, Debug)]
enum Progress {
    /// The job has not ended, and the record reads its state from it.
    InFlight(Job),
    /// The job has ended. The record no longer holds it, because it would hold the code of a handler that may be removed.
    Ended { started: Option<Timestamp>, end: Arc<JobEnd> },
}

/// Which records a list has. Fields that are `None` match all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub handler: Option<String>,
    /// The token of an outcome's kind.
    pub outcome: Option<String>,
    /// The tokens of states. Empty matches all.
    pub states: Vec<&'static str>,
    /// Matches jobs that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Matches jobs that were created before this time.
    pub until: Option<Timestamp>,
    /// Matches jobs that have ended at this time or later.
    pub ended_since: Option<Timestamp>,
    /// A part of the error, in any case of its ASCII letters.
    pub error: Option<String>,
}

/// A page of a list, starting with the job that was started last.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// If there are more records: they have lower numbers than this one.
    pub next: Option<u64>,
}

impl Record {
    pub(super) fn new(number: u64, job: &Job) -> Self {
        let spec = job.spec().clone();
        let args = spec.args.iter().map(|arg| arg.len() + size_of::<String>()).sum::<usize>();
        let key = spec.key.as_ref().map_or(0, |key| key.text.len());
        let rules = spec.policy.network.len() * size_of::<Rule>() + spec.policy.http.len() * 2 * size_of::<HttpRule>();
        let size = args + key + FIXED_SIZE + rules;
        Self { spec, log: job.log().cloned(), size, number, progress: Progress::InFlight(job.clone()) }
    }

    /// Sets the end of the job. Returns the number of bytes by which the record grows.
    pub(super) fn set_ended(&mut self, started: Option<Timestamp>, end: Arc<JobEnd>) -> usize {
        let growth = end.usage.network.as_ref().map_or(0, |network| network.weight());
        self.size += growth;
        self.progress = Progress::Ended { started, end };
        growth
    }

    /// Returns the position of the job in the order of starts.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the job itself, unless it has ended.
    pub fn job(&self) -> Option<&Job> {
        match &self.progress {
            Progress::InFlight(job) => Some(job),
            Progress::Ended { .. } => None,
        }
    }

    /// Returns the current state of the job.
    pub fn state(&self) -> JobState {
        match &self.progress {
            Progress::InFlight(job) => job.state(),
            Progress::Ended { end, .. } => JobState::Done(end.clone()),
        }
    }

    /// Returns whether the job has ended.
    pub fn has_ended(&self) -> bool {
        match &self.progress {
            Progress::InFlight(job) => job.has_ended(),
            Progress::Ended { .. } => true,
        }
    }

    /// Returns when the run of the job started, or `None` if it has not.
    pub fn started(&self) -> Option<Timestamp> {
        match &self.progress {
            Progress::InFlight(job) => job.started(),
            Progress::Ended { started, .. } => *started,
        }
    }

    /// Returns what the job has used so far.
    pub fn usage(&self) -> UsageReport {
        match &self.progress {
            Progress::InFlight(job) => job.usage(),
            Progress::Ended { end, .. } => end.usage.clone(),
        }
    }
}

impl Filter {
    /// Returns whether the list has `record`.
    pub fn matches(&self, record: &Record) -> bool {
        if self.handler.as_ref().is_some_and(|handler| handler != record.spec.handler.as_str()) {
            return false;
        }
        if self.since.is_some_and(|since| record.spec.created < since) {
            return false;
        }
        if self.until.is_some_and(|until| record.spec.created >= until) {
            return false;
        }
        let needs_no_state = self.outcome.is_none() && self.states.is_empty() && self.error.is_none();
        if needs_no_state && self.ended_since.is_none() {
            return true;
        }
        let state = record.state();
        let (outcome, error, ended) = match &state {
            JobState::Done(end) => (Some(end.outcome.kind()), end.error.as_deref(), Some(end.at)),
            JobState::Created | JobState::Queued | JobState::Running => (None, None, None),
        };
        if self.ended_since.is_some_and(|since| ended.is_none_or(|ended| ended < since)) {
            return false;
        }
        if let Some(part) = &self.error
            && !error.is_some_and(|error| error.to_ascii_lowercase().contains(&part.to_ascii_lowercase()))
        {
            return false;
        }
        (self.states.is_empty() || self.states.contains(&state.token()))
            && self.outcome.as_ref().is_none_or(|expected| Some(expected.as_str()) == outcome)
    }
}
