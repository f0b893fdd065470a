//! [`finish`]: records the end of an attempt, once. [`record_finished`]: records a run that needed no queue.

use capstan_core::usage::UsageReport;

use super::super::claim::{Finish, FinishedRun, Lease, Now, Then};
use super::super::error::{AttemptError, JobStoreError};
use super::super::record::{AttemptRecord, JobRecord, State};
use super::super::tables::Tables;
use super::effects::Effects;
use super::end;

/// Records the end of an attempt; see [`JobStore::finish`](super::super::JobStore::finish).
///
/// # Errors
/// [`AttemptError`]
pub fn finish(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    finish: Finish,
) -> Result<State, AttemptError> {
    let Finish { lease, end, usage, then } = finish;
    let mut job = running(tables, lease)?;
    tables.finish_attempt(lease, &end, &usage)?;
    effects.ended(lease);
    job.finish(end, then);
    end::save(tables, effects, now.wall, &job, State::Running)?;
    Ok(job.state)
}

/// Records a job that was run without the queue; see [`JobStore::record_finished`](super::super::JobStore::record_finished).
///
/// # Errors
/// [`JobStoreError`]
pub fn record_finished(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    run: &FinishedRun,
) -> Result<(), JobStoreError> {
    let mut job = JobRecord::submitted(&run.job, now.wall, true);
    job.is_synchronous = true;
    job.start();
    job.finish(run.end.clone(), Then::Done);
    tables.insert_job(&job, &run.job.stdin, None)?;
    let lease = Lease { job: job.id, attempt: job.attempt };
    let (worker, started) = (run.worker.clone(), run.started);
    let (usage, output) = (UsageReport::default(), 0);
    tables
        .insert_attempt(job.id, &AttemptRecord { number: lease.attempt, worker, started, end: None, usage, output })?;
    tables.finish_attempt(lease, &run.end, &run.usage)?;
    effects.changed(&job);
    Ok(())
}

/// Returns the job of `lease` if its attempt is running.
pub(super) fn running(tables: &mut impl Tables, lease: Lease) -> Result<JobRecord, AttemptError> {
    let is_current = |job: &JobRecord| job.runs_attempt(lease.attempt);
    let stale = AttemptError::Stale { job: lease.job, attempt: lease.attempt };
    tables.job(lease.job).map_err(|error: JobStoreError| AttemptError::Store(error))?.filter(is_current).ok_or(stale)
}
