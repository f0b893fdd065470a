//! [`cancel`], [`requeue`] and [`remove`]: what people do with jobs.

use capstan_core::outcome::CancelledBy;

use super::super::claim::Now;
use super::super::error::ChangeError;
use super::super::record::{JobRecord, Plan, State};
use super::super::tables::Tables;
use super::super::watch::Change;
use super::effects::Effects;
use super::end;
use crate::job::JobId;

/// Cancels a job; see [`JobStore::cancel`](super::super::JobStore::cancel).
///
/// # Errors
/// [`ChangeError`]
pub fn cancel(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    id: JobId,
    by: CancelledBy,
) -> Result<State, ChangeError> {
    let mut job = find(tables, id)?;
    if job.state.has_ended() {
        return Err(ChangeError::Ended(id));
    }
    let before = job.state;
    job.cancel(by, now.wall);
    end::save(tables, effects, now.wall, &job, before)?;
    Ok(job.state)
}

/// Queues a job that has ended; see [`JobStore::requeue`](super::super::JobStore::requeue).
///
/// # Errors
/// [`ChangeError`]
pub fn requeue(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    id: JobId,
    plan: Option<&Plan>,
) -> Result<(), ChangeError> {
    let mut job = find_ended(tables, id)?;
    let before = job.state;
    job.requeue();
    if let Some(plan) = plan {
        tables.update_plan(id, plan)?;
    }
    Ok(end::save(tables, effects, now.wall, &job, before)?)
}

/// Removes a job that has ended; see [`JobStore::remove`](super::super::JobStore::remove).
///
/// # Errors
/// [`ChangeError`]
pub fn remove(tables: &mut impl Tables, effects: &mut Effects, id: JobId) -> Result<(), ChangeError> {
    let job = find_ended(tables, id)?;
    tables.remove_job(&job)?;
    effects.changes.push(Change::without_state(id));
    Ok(())
}

fn find_ended(tables: &mut impl Tables, id: JobId) -> Result<JobRecord, ChangeError> {
    let job = find(tables, id)?;
    if job.state.has_ended() { Ok(job) } else { Err(ChangeError::NotEnded(id)) }
}

fn find(tables: &mut impl Tables, id: JobId) -> Result<JobRecord, ChangeError> {
    tables.job(id)?.ok_or(ChangeError::Unknown(id))
}
