//! Finds the job that a request names.

use capstan_engine::history::Record;
use capstan_engine::job::{Job, JobId};

use super::super::error::Error;
use super::super::request::Request;
use super::super::state::ApiState;

/// The least digits of a prefix that names a job.
const MIN_PREFIX: usize = 4;

/// Returns the id in the path, or the id of the one job that starts with what is in the path.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `ambiguous_job`.
pub(in super::super) fn job_id(state: &ApiState, request: &Request) -> Result<JobId, Error> {
    let text = request.path_parameter.as_str();
    if text.len() < MIN_PREFIX || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return request.job_id();
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match *state.engine.history().find_by_prefix(text).as_slice() {
        [] => Err(Error::unknown_job(text)),
        [id] => Ok(id),
        [first, second, ..] => Err(Error::ambiguous_job(text, first, second)),
    }
}

/// Returns the record of the job in the path.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `ambiguous_job`.
pub(super) fn find(state: &ApiState, request: &Request) -> Result<Record, Error> {
    let id = job_id(state, request)?;
    state.engine.history().find(id).ok_or_else(|| Error::unknown_job(&id.to_string()))
}

/// Returns the job in the path, which must not have ended, and its record.
///
/// # Errors
/// [`Error`]: 404 `unknown_job`, 409 `job_ended`.
pub(in super::super) fn find_unfinished(state: &ApiState, request: &Request) -> Result<(Record, Job), Error> {
    let record = find(state, request)?;
    match unfinished_job(&record).cloned() {
        Some(job) => Ok((record, job)),
        None => Err(Error::job_ended(record.spec.id)),
    }
}

/// Returns the job of a record; `None` once it has ended.
pub(super) fn unfinished_job(record: &Record) -> Option<&Job> {
    record.job().filter(|_| !record.has_ended())
}
