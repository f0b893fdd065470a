//! [`expire`] and [`recover`]: end the attempts whose workers are gone.

use capstan_core::usage::UsageReport;

use super::super::claim::{Finish, Lease, Now};
use super::super::error::{AttemptError, JobStoreError};
use super::super::lost::after_lost_run;
use super::super::record::{End, JobRecord};
use super::super::tables::Tables;
use super::effects::Effects;
use super::{end, finish};

/// The attempts that one call of [`recover`] ends.
const BATCH: usize = 1000;

/// Ends the attempts of `leases` as lost. Returns those that were running.
///
/// # Errors
/// [`JobStoreError`]
pub fn expire(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Now,
    leases: Vec<Lease>,
) -> Result<Vec<Lease>, JobStoreError> {
    let mut lost = Vec::new();
    for lease in leases {
        match finish::running(tables, lease) {
            Ok(job) => {
                lose(tables, effects, now, &job)?;
                lost.push(lease);
            }
            Err(AttemptError::Stale { .. }) => {}
            Err(AttemptError::Store(error)) => return Err(error),
        }
    }
    Ok(lost)
}

/// Ends attempts that ran when the process that had their leases ended. Returns how many; call it again until there are none.
///
/// # Errors
/// [`JobStoreError`]
pub fn recover(tables: &mut impl Tables, effects: &mut Effects, now: Now) -> Result<usize, JobStoreError> {
    let running = tables.running(BATCH)?;
    for id in &running {
        if let Some(job) = end::load(tables, effects, now.wall, *id)? {
            lose(tables, effects, now, &job)?;
        }
    }
    Ok(running.len())
}

fn lose(tables: &mut impl Tables, effects: &mut Effects, now: Now, job: &JobRecord) -> Result<(), JobStoreError> {
    let (then, outcome) = after_lost_run(job, now.wall);
    let end = End { error: Some(outcome.to_string()), outcome, at: now.wall };
    let lease = Lease { job: job.id, attempt: job.attempt };
    match finish::finish(tables, effects, now, Finish { lease, end, usage: UsageReport::default(), then }) {
        Ok(_) | Err(AttemptError::Stale { .. }) => Ok(()),
        Err(AttemptError::Store(error)) => Err(error),
    }
}
