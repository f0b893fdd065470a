//! Finds the job that a request names.

use capstan_engine::history::Record;
use capstan_engine::job::Job;

use super::super::error::Error;
use super::super::request::Request;
use super::super::state::ApiState;

/// Returns the record of the job in the path.
///
/// # Errors
/// [`Error`], 404 `unknown_job`.
pub(super) fn find(state: &ApiState, request: &Request) -> Result<Record, Error> {
    let id = request.job_id()?;
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
