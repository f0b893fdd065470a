//! [`submit`]: adds a job. [`submit_all`]: adds several, and arrays as a whole.

use jiff::Timestamp;

use super::super::claim::Now;
use super::super::dependency::{Readiness, refused_by};
use super::super::error::{JobStoreError, SubmitError};
use super::super::limits::StoreLimits;
use super::super::record::{JobRecord, NewJob, State, Submitted};
use super::super::tables::Tables;
use super::effects::Effects;

/// Adds `jobs` in their order; see [`JobStore::submit`](super::super::JobStore::submit).
///
/// # Errors
/// The outer error is the store's, the inner ones those of the jobs.
pub fn submit_all(
    tables: &mut impl Tables,
    effects: &mut Effects,
    limits: &StoreLimits,
    now: Now,
    jobs: &[NewJob],
) -> Result<Vec<Result<Submitted, SubmitError>>, JobStoreError> {
    let is_same_array = |a: &NewJob, b: &NewJob| {
        let array = |job: &NewJob| job.array.map(|place| place.array);
        array(a).is_some() && array(a) == array(b)
    };
    let mut results = Vec::with_capacity(jobs.len());
    for together in jobs.chunk_by(is_same_array) {
        match refusal_of_array(tables, limits, now.wall, together)? {
            Some(error) => results.extend(together.iter().map(|_| Err(error.clone()))),
            None => {
                for job in together {
                    results.push(submit(tables, effects, limits, now, job)?);
                }
            }
        }
    }
    Ok(results)
}

/// Returns why some of the jobs of an array would be refused, and others not.
fn refusal_of_array(
    tables: &mut impl Tables,
    limits: &StoreLimits,
    now: Timestamp,
    jobs: &[NewJob],
) -> Result<Option<SubmitError>, JobStoreError> {
    let [first, _, ..] = jobs else { return Ok(None) };
    let mut new = 0;
    for job in jobs {
        if let Err(error) = limits.check(job) {
            return Ok(Some(error));
        }
        match known(tables, now, job)? {
            Some(Err(error)) => return Ok(Some(error)),
            Some(Ok(_)) => {}
            None => new += 1,
        }
    }
    match first.queue_limit {
        Some(limit) if new > 0 && tables.depth(first.handler.as_str())? + new > limit => {
            Ok(Some(SubmitError::QueueFull { limit }))
        }
        _ => Ok(None),
    }
}

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
    if let Some(known) = known(tables, now, job)? {
        return Ok(known);
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

/// Returns the earlier job with the idempotency key of `job`, or the error if that was another request.
fn known(
    tables: &mut impl Tables,
    now: Timestamp,
    job: &NewJob,
) -> Result<Option<Result<Submitted, SubmitError>>, JobStoreError> {
    let Some(key) = &job.key else { return Ok(None) };
    let Some((known, stored)) = tables.key(&key.text)?.filter(|(_, stored)| stored.expires > now) else {
        return Ok(None);
    };
    if stored.digest != key.digest {
        return Ok(Some(Err(SubmitError::KeyReused { job: known })));
    }
    // A job that retention has removed has ended.
    let state = tables.job(known)?.map_or(State::Done, |job| job.state);
    Ok(Some(Ok(Submitted { job: known, state, is_new: false })))
}
