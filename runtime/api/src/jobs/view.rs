//! A job as it is told of.

use capstan_core::caller::Caller;
use capstan_core::outcome::Outcome;
use capstan_core::policy::Policy;
use capstan_core::usage::UsageReport;
use capstan_engine::history::Record;
use capstan_engine::job::{JobEnd, JobId, JobState};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A job in JSON. What is not there yet is null.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    id: JobId,
    handler: &'a str,
    digest: Option<&'a str>,
    args: &'a [String],
    parent: Option<JobId>,
    /// Null where it is the daemon's own.
    caller: Option<&'a Caller>,
    key: Option<&'a str>,
    concurrency_key: Option<&'a str>,
    state: &'static str,
    durable: bool,
    /// Whether there is anything for `logs`.
    logged: bool,
    policy: &'a Policy,
    #[serde(serialize_with = "time")]
    created: Option<Timestamp>,
    #[serde(flatten)]
    run: Run,
    runs: Vec<Run>,
}

/// One attempt at it.
#[derive(Clone, Debug, Serialize)]
struct Run {
    #[serde(serialize_with = "time")]
    started: Option<Timestamp>,
    #[serde(serialize_with = "time")]
    ended: Option<Timestamp>,
    outcome: Option<Outcome>,
    exit_code: Option<u8>,
    /// Why it was no success, in a line.
    error: Option<Box<str>>,
    usage: UsageReport,
}

impl<'a> Told<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        let state = record.state();
        let token = state.token();
        let end = match state {
            JobState::Done(end) => Some(end),
            JobState::Created | JobState::Queued | JobState::Running => None,
        };
        let run = Run::new(record, end);
        let given = &record.spec;
        Self {
            id: given.id,
            handler: given.handler.as_str(),
            digest: given.handler_info.digest.as_deref(),
            args: &given.args,
            parent: given.parent,
            caller: given.caller.as_ref(),
            key: given.key.as_ref().map(|key| key.text.as_str()),
            concurrency_key: given.concurrency_key.as_deref(),
            state: token,
            durable: false,
            logged: record.log.is_some(),
            policy: &given.policy,
            created: Some(given.created),
            // A job that was stopped in the queue has an end, and no run.
            runs: run.started.map(|_| run.clone()).into_iter().collect(),
            run,
        }
    }
}

impl Run {
    fn new(record: &Record, end: Option<JobEnd>) -> Self {
        let usage = record.usage();
        let (ended, outcome, error) =
            end.map_or((None, None, None), |end| (Some(end.at), Some(end.outcome), end.error));
        let exit_code = outcome.as_ref().map(Outcome::exit_code);
        Self { started: record.started(), ended, outcome, exit_code, error, usage }
    }
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| format!("{time:.9}")).serialize(serializer)
}
