//! [`submit`]: adds a job.

use jiff::Timestamp;

use super::super::claim::Now;
use super::super::dependency::{Readiness, refused_by};
use super::super::error::{JobStoreError, SubmitError};
use super::super::limits::StoreLimits;
use super::super::record::{JobRecord, NewJob, State, Submitted};
use super::super::tables::Tables;
use super::effects::Effects;

/// Adds `job`, or finds the one with its idempotency key.
///
/// # Errors
/// The outer error is the store's, the inner one that of the job.
pub fn submit(
    tables: &mut impl Tables,
    effects: &mut Effects,
    limits: &StoreLimits,
    now: Now,
    job: &NewJob,
) -> Result<Result<Submitted, SubmitError>, JobStoreError> {
    submit_at(tables, effects, limits, now.wall, job)
}

/// Does what [`submit`] does, without the monotonic clock.
pub(super) fn submit_at(
    tables: &mut impl Tables,
    effects: &mut Effects,
    limits: &StoreLimits,
    now: Timestamp,
    job: &NewJob,
) -> Result<Result<Submitted, SubmitError>, JobStoreError> {
    if let Err(error) = limits.check(job) {
        return Ok(Err(error));
    }
    if let Some(key) = &job.key
        && let Some((known, stored)) = tables.key(&key.text)?.filter(|(_, stored)| stored.expires > now)
    {
        if stored.digest != key.digest {
            return Ok(Err(SubmitError::KeyReused { job: known }));
        }
        // A job that retention has removed has ended.
        let state = tables.job(known)?.map_or(State::Done, |job| job.state);
        return Ok(Ok(Submitted { job: known, state, is_new: false }));
    }
    if tables.job(job.id)?.is_some() {
        return Ok(Err(SubmitError::DuplicateId(job.id)));
    }
    if let Some(limit) = job.queue_limit
        && tables.depth(job.handler.as_str())? >= limit
    {
        return Ok(Err(SubmitError::QueueFull { limit }));
    }
    let mut met = Vec::with_capacity(job.after.jobs.len());
    for dependency in &job.after.jobs {
        let Some(first) = tables.job(dependency.job)? else {
            return Ok(Err(SubmitError::UnknownDependency(dependency.job)));
        };
        met.push(first.end.map(|end| dependency.on.is_met_by(&end.outcome)));
    }
    let readiness = job.after.readiness(&met);
    let mut record = JobRecord::submitted(job, now, readiness == Readiness::Ready);
    if let Readiness::Impossible(dependency) = readiness {
        record.end_without_run(refused_by(dependency), now);
    }
    tables.insert_job(&record, &job.stdin, job.key.as_ref())?;
    if readiness == Readiness::Waiting {
        tables.insert_edges(&record, &met)?;
    }
    effects.changed(&record);
    Ok(Ok(Submitted { job: record.id, state: record.state, is_new: true }))
}
