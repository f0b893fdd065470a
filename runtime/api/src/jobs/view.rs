//! `JobView`: a job as JSON.

use capstan_core::caller::Caller;
use capstan_core::outcome::Outcome;
use capstan_core::policy::Policy;
use capstan_core::usage::UsageReport;
use capstan_engine::history::Record;
use capstan_engine::job::{JobEnd, JobId, JobState};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A job as JSON. What is not known yet is null.
#[derive(Debug, Serialize)]
pub(super) struct JobView<'a> {
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
    policy: &'a Policy,
    #[serde(serialize_with = "serialize_time")]
    created: Option<Timestamp>,
    #[serde(flatten)]
    latest_run: RunView,
    runs: Vec<RunView>,
}

/// One run of a job.
#[derive(Clone, Debug, Serialize)]
struct RunView {
    #[serde(serialize_with = "serialize_time")]
    started: Option<Timestamp>,
    #[serde(serialize_with = "serialize_time")]
    ended: Option<Timestamp>,
    outcome: Option<Outcome>,
    exit_code: Option<u8>,
    /// Why it did not succeed, in one line.
    error: Option<Box<str>>,
    usage: UsageReport,
}

impl<'a> JobView<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        let state = record.state();
        let token = state.token();
        let end = match state {
            JobState::Done(end) => Some(end),
            JobState::Created | JobState::Queued | JobState::Running => None,
        };
        let run = RunView::new(record, end.as_deref());
        let spec = &record.spec;
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
            policy: &spec.policy,
            created: Some(spec.created),
            // A job that was cancelled in the queue has an end, but no run.
            runs: run.started.map(|_| run.clone()).into_iter().collect(),
            latest_run: run,
        }
    }
}

impl RunView {
    fn new(record: &Record, end: Option<&JobEnd>) -> Self {
        let usage = record.usage();
        let ended = end.map(|end| end.at);
        let (outcome, error) = (end.map(|end| end.outcome.clone()), end.and_then(|end| end.error.clone()));
        let exit_code = outcome.as_ref().map(Outcome::exit_code);
        Self { started: record.started(), ended, outcome, exit_code, error, usage }
    }
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn serialize_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| format!("{time:.9}")).serialize(serializer)
}
