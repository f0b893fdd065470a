//! `JobView`: a job as JSON.

use std::collections::BTreeMap;

use capstan_core::caller::Caller;
use capstan_core::outcome::Outcome;
use capstan_core::policy::Policy;
use capstan_core::retry::RetryPolicy;
use capstan_core::usage::UsageReport;
use capstan_engine::history::Record;
use capstan_engine::job::{JobEnd, JobId, JobState};
use capstan_engine::job_store::{After, ArrayIndex, AttemptRecord, End, State};
use capstan_engine::queue::WaitReason;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::lookup::{DurableJob, FoundJob};

/// A job as JSON. What is not known yet is null.
#[derive(Debug, Serialize)]
pub(in super::super) struct JobView<'a> {
    id: JobId,
    handler: &'a str,
    digest: Option<&'a str>,
    args: &'a [String],
    parent: Option<JobId>,
    /// Null for a job of the daemon itself.
    caller: Option<&'a Caller>,
    key: Option<&'a str>,
    concurrency_key: Option<&'a str>,
    state: &'static str,
    durable: bool,
    /// Whether its output is stored, for `logs`.
    logged: bool,
    policy: Option<&'a Policy>,
    #[serde(serialize_with = "serialize_time")]
    created: Option<Timestamp>,
    #[serde(flatten)]
    latest_run: RunView,
    /// The same as `attempts`, under the name of earlier versions.
    runs: Vec<RunView>,
    attempts: Vec<RunView>,
    #[serde(flatten)]
    queue: Option<QueueView<'a>>,
}

/// One run of a job.
#[derive(Clone, Debug, Default, Serialize)]
struct RunView {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(serialize_with = "serialize_time")]
    started: Option<Timestamp>,
    #[serde(serialize_with = "serialize_time")]
    ended: Option<Timestamp>,
    outcome: Option<Outcome>,
    exit_code: Option<u8>,
    /// Why it did not succeed, in one line.
    error: Option<Box<str>>,
    usage: UsageReport,
    /// Bytes that it has printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<u64>,
}

/// What a durable job has besides.
#[derive(Debug, Serialize)]
struct QueueView<'a> {
    priority: i32,
    labels: &'a BTreeMap<String, String>,
    retry: &'a RetryPolicy,
    #[serde(serialize_with = "serialize_time")]
    not_before: Option<Timestamp>,
    #[serde(serialize_with = "serialize_time")]
    start_deadline: Option<Timestamp>,
    /// When a job that is scheduled or will be retried becomes queued.
    #[serde(serialize_with = "serialize_time")]
    due: Option<Timestamp>,
    after: &'a After,
    array: Option<ArrayIndex>,
    cancel_requested: bool,
    /// Why it has not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a WaitReason>,
}

impl FoundJob {
    /// Returns the job as JSON.
    pub(in super::super) fn view(&self) -> JobView<'_> {
        match self {
            Self::InMemory(record) => JobView::of_record(record),
            Self::Durable(job) => JobView::of_durable(job),
        }
    }
}

impl<'a> JobView<'a> {
    /// Returns the view of a job in memory.
    fn of_record(record: &'a Record) -> Self {
        let state = record.state();
        let token = state.token();
        let end = match state {
            JobState::Done(end) => Some(end),
            JobState::Created | JobState::Queued | JobState::Running => None,
        };
        let run = RunView::of_record(record, end.as_deref());
        let spec = &record.spec;
        // A job that was cancelled in the queue has an end, but no run.
        let attempts: Vec<_> = run.started.map(|_| run.clone()).into_iter().collect();
        Self {
            id: spec.id,
            handler: spec.handler.as_str(),
            digest: spec.handler_info.digest.as_deref(),
            args: &spec.args,
            parent: spec.parent,
            caller: spec.caller.as_ref(),
            key: spec.key.as_ref().map(|key| key.text.as_str()),
            concurrency_key: spec.concurrency_key.as_deref(),
            state: token,
            durable: false,
            logged: record.log.is_some(),
            policy: Some(&spec.policy),
            created: Some(spec.created),
            runs: attempts.clone(),
            attempts,
            latest_run: run,
            queue: None,
        }
    }

    /// Returns the view of a durable job.
    fn of_durable(found: &'a DurableJob) -> Self {
        let job = &found.details.job;
        let attempts: Vec<_> =
            found.details.attempts.iter().map(|attempt| RunView::of_attempt(attempt, found)).collect();
        let latest = attempts.last().cloned().unwrap_or_default();
        let waits_in_engine = found.run.as_ref().is_some_and(|run| run.state() == JobState::Queued);
        let state = if waits_in_engine && job.state == State::Running { State::Queued } else { job.state };
        Self {
            id: job.id,
            handler: job.handler.as_str(),
            digest: job.plan.digest.as_deref(),
            args: &job.plan.args,
            parent: job.parent,
            caller: job.plan.caller.as_ref(),
            key: job.key.as_deref(),
            concurrency_key: job.concurrency_key.as_deref(),
            state: state.token(),
            durable: true,
            logged: !found.details.job.is_synchronous,
            policy: found.policy.as_deref(),
            created: Some(job.submitted),
            latest_run: RunView { number: None, worker: None, output: None, ..latest.ended_as(job.end.as_ref()) },
            runs: attempts.clone(),
            attempts,
            queue: Some(QueueView {
                priority: job.priority,
                labels: &job.labels,
                retry: &job.plan.retry,
                not_before: job.not_before,
                start_deadline: job.start_deadline,
                due: job.due,
                after: &job.after,
                array: job.array,
                cancel_requested: job.cancel_requested.is_some(),
                waits_for: found.waits_for.as_ref(),
            }),
        }
    }
}

impl RunView {
    fn of_record(record: &Record, end: Option<&JobEnd>) -> Self {
        let usage = record.usage();
        let ended = end.map(|end| end.at);
        let (outcome, error) = (end.map(|end| end.outcome.clone()), end.and_then(|end| end.error.clone()));
        let exit_code = outcome.as_ref().map(Outcome::exit_code);
        Self { started: record.started(), ended, outcome, exit_code, error, usage, ..Self::default() }
    }

    fn of_attempt(attempt: &AttemptRecord, found: &DurableJob) -> Self {
        let run = found.run.as_ref().filter(|_| attempt.end.is_none() && attempt.number == found.details.job.attempt);
        let view = Self {
            number: Some(attempt.number),
            worker: Some(attempt.worker.clone()),
            started: Some(attempt.started),
            usage: run.map_or_else(|| attempt.usage.clone(), |run| run.usage()),
            output: Some(attempt.output),
            ..Self::default()
        };
        view.ended_as(attempt.end.as_ref())
    }

    /// Returns the view of a run that ended in this way, or has not ended.
    fn ended_as(self, end: Option<&End>) -> Self {
        let outcome = end.map(|end| end.outcome.clone());
        let exit_code = outcome.as_ref().map(Outcome::exit_code);
        let error = end.and_then(|end| end.error.as_deref()).map(Into::into);
        Self { ended: end.map(|end| end.at), outcome, exit_code, error, ..self }
    }
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn serialize_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| format!("{time:.9}")).serialize(serializer)
}
