//! [`fire`]: submits the jobs of a schedule, once for each of its times.

use jiff::Timestamp;

use super::super::claim::Now;
use super::super::error::JobStoreError;
use super::super::limits::StoreLimits;
use super::super::record::NewJob;
use super::super::schedule::{Firing, ScheduleRecord};
use super::super::tables::Tables;
use super::effects::Effects;
use super::submit;

/// Fires a schedule; see [`JobStore::fire`](super::super::JobStore::fire). A job that is refused is left out.
///
/// # Errors
/// [`JobStoreError`]
pub fn fire(
    tables: &mut impl Tables,
    effects: &mut Effects,
    limits: &StoreLimits,
    now: Now,
    (name, due, next): (&str, Timestamp, Option<Timestamp>),
    jobs: &[NewJob],
) -> Result<Firing, JobStoreError> {
    let is_due = |schedule: &ScheduleRecord| schedule.next == Some(due) && !schedule.is_paused;
    let Some(mut schedule) = tables.schedule(name)?.filter(is_due) else { return Ok(Firing::Passed) };
    let mut submitted = Vec::new();
    for job in jobs {
        if let Ok(new) = submit::submit(tables, effects, limits, now, job)? {
            submitted.push(new.job);
        }
    }
    schedule.last = Some(due);
    schedule.next = next;
    tables.put_schedule(&schedule)?;
    Ok(Firing::Fired(submitted))
}
