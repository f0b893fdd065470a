//! `Record`: what is known of one job, and which ones somebody asks for.

use std::fmt;
use std::sync::Arc;

use capstan_core::policy::Rule;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::log::Log;
use crate::job::{End, Job, JobSpec, State};

/// Bytes that a record takes besides what it holds; an estimate.
const FIXED: usize = 512;

/// What is known of a job.
#[derive(Clone, Debug)]
pub struct Record {
    pub given: Arc<JobSpec>,
    /// What it printed, where that is kept.
    pub log: Option<Log>,
    /// Bytes that it counts for, without its log.
    pub(super) weight: usize,
    number: u64,
    life: Life,
}

#[derive(Clone, Debug)]
enum Life {
    Going(Job),
    /// The job itself, and with it the code of a handler that may be gone, is let go.
    Ended {
        started: Option<Timestamp>,
        end: Arc<End>,
    },
}

/// Which jobs to list; what is absent lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub handler: Option<String>,
    /// The kind of an outcome, by its token.
    pub outcome: Option<String>,
    /// A state, by its token.
    pub state: Option<String>,
    /// Made then or later.
    pub since: Option<Timestamp>,
}

/// Some of the jobs, the last to start first.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// Where there are more: they started before this one.
    pub next: Option<u64>,
}

/// By which a caller makes sure that what it asks for is done once, however often it asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// What tells one request from another; `None` where a request cannot be compared with others.
    pub request: Option<[u8; 32]>,
}

impl Record {
    pub(super) fn new(number: u64, job: &Job) -> Self {
        let given = job.spec().clone();
        let key = given.key.as_ref().map_or(0, |key| key.text.len());
        let rules = given.policy.network.len() * size_of::<Rule>();
        let weight = given.args.iter().map(|arg| arg.len() + size_of::<String>()).sum::<usize>() + key + FIXED + rules;
        Self { given, log: job.log().cloned(), weight, number, life: Life::Going(job.clone()) }
    }

    /// Notes its end; gives the bytes that it counts for from now on besides what it counted for.
    pub(super) fn set_ended(&mut self, started: Option<Timestamp>, end: End) -> usize {
        let more = end.usage.network.as_ref().map_or(0, |network| network.weight());
        self.weight += more;
        self.life = Life::Ended { started, end: Arc::new(end) };
        more
    }

    /// Its number in the order of starts.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The job itself, for as long as it is there.
    pub fn job(&self) -> Option<&Job> {
        match &self.life {
            Life::Going(job) => Some(job),
            Life::Ended { .. } => None,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        match &self.life {
            Life::Going(job) => job.state(),
            Life::Ended { end, .. } => State::Done(End::clone(end)),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        match &self.life {
            Life::Going(job) => matches!(job.state(), State::Done(_)),
            Life::Ended { .. } => true,
        }
    }

    /// When its run began.
    pub fn started(&self) -> Option<Timestamp> {
        match &self.life {
            Life::Going(job) => job.started(),
            Life::Ended { started, .. } => *started,
        }
    }

    /// What it has used so far.
    pub fn usage(&self) -> UsageReport {
        match &self.life {
            Life::Going(job) => job.usage(),
            Life::Ended { end, .. } => end.usage.clone(),
        }
    }
}

impl Filter {
    /// Whether it lets `record` through.
    pub fn matches(&self, record: &Record) -> bool {
        if self.handler.as_ref().is_some_and(|handler| handler != record.given.handler.as_str()) {
            return false;
        }
        if self.since.is_some_and(|since| record.given.created < since) {
            return false;
        }
        if self.outcome.is_none() && self.state.is_none() {
            return true;
        }
        let state = record.state();
        let outcome = match &state {
            State::Done(end) => Some(end.outcome.kind()),
            State::Created | State::Queued | State::Running => None,
        };
        self.state.as_ref().is_none_or(|asked| asked == state.token())
            && self.outcome.as_ref().is_none_or(|asked| Some(asked.as_str()) == outcome)
    }
}

impl Key {
    /// Whether both were sent with the same request.
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.request.is_some() && self.request == other.request
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Key").field(&self.text).finish()
    }
}
