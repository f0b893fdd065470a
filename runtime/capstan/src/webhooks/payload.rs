//! What a receiver learns of the end of a job.

use std::collections::BTreeMap;

use capstan_core::outcome::Outcome;
use capstan_engine::job::JobId;
use capstan_engine::job_store::JobRecord;
use serde::Serialize;

/// The end of a job as JSON. The fields are those of `GET /jobs/{id}`.
#[derive(Serialize)]
struct Payload<'a> {
    event: &'static str,
    delivery: JobId,
    webhook: &'a str,
    job: JobId,
    handler: &'a str,
    state: &'static str,
    outcome: Option<&'a Outcome>,
    exit_code: Option<u8>,
    error: Option<&'a str>,
    /// How many runs it had; 0 if it ended without one.
    attempts: u32,
    labels: &'a BTreeMap<String, String>,
    submitted: String,
    ended: Option<String>,
}

/// Returns the payload about `ended` for `webhook`. `delivery` is the id of the job that delivers it.
pub(super) fn of(ended: &JobRecord, webhook: &str, delivery: JobId) -> Vec<u8> {
    let (outcome, end) = (ended.end.as_ref().map(|end| &end.outcome), ended.end.as_ref());
    let payload = Payload {
        event: "job.end",
        delivery,
        webhook,
        job: ended.id,
        handler: ended.handler.as_str(),
        state: ended.state.token(),
        outcome,
        exit_code: outcome.map(Outcome::exit_code),
        error: end.and_then(|end| end.error.as_deref()),
        attempts: ended.attempt,
        labels: &ended.labels,
        submitted: format!("{:.9}", ended.submitted),
        ended: end.map(|end| format!("{:.9}", end.at)),
    };
    serde_json::to_vec(&payload).expect("its keys are texts and its numbers are finite")
}
