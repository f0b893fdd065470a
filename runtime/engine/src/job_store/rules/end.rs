//! [`save`]: saves a job after a transition, and lets those run that waited for its end.

use capstan_core::outcome::Outcome;
use jiff::Timestamp;

use super::super::dependency::{Readiness, refused_by};
use super::super::error::JobStoreError;
use super::super::record::{End, JobRecord, State};
use super::super::tables::Tables;
use super::super::watch::{Change, ChangedState};
use super::effects::Effects;
use crate::job::JobId;

/// Saves `job`, whose stored state is `before`. If it has ended, releases the jobs that depend on it, or ends those that never can run.
pub(super) fn save(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Timestamp,
    job: &JobRecord,
    before: State,
) -> Result<(), JobStoreError> {
    tables.update_job(job, before)?;
    effects.changed(job);
    resolve(tables, effects, now, job)
}

/// Does what follows from the end of `job`. Does nothing if it has not ended.
fn resolve(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Timestamp,
    job: &JobRecord,
) -> Result<(), JobStoreError> {
    match &job.end {
        Some(end) => resolve_all(tables, effects, now, (job.id, end.outcome.clone())),
        None => Ok(()),
    }
}

/// Returns a job whose state must change. If its record is damaged, ends it, so that it does not hold up the jobs behind it, and returns `None`.
pub(super) fn load(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Timestamp,
    id: JobId,
) -> Result<Option<JobRecord>, JobStoreError> {
    match tables.job(id) {
        Err(error @ JobStoreError::Damaged { .. }) => {
            let outcome = Outcome::HostError { message: error.to_string() };
            tables.quarantine(id, &End { error: Some(error.to_string()), outcome: outcome.clone(), at: now })?;
            let state = ChangedState { state: State::Done, handler: None, attempt: 0, outcome: Some(outcome.clone()) };
            effects.changes.push(Change { job: id, state: Some(state) });
            resolve_all(tables, effects, now, (id, outcome))?;
            Ok(None)
        }
        job => job,
    }
}

fn resolve_all(
    tables: &mut impl Tables,
    effects: &mut Effects,
    now: Timestamp,
    first: (JobId, Outcome),
) -> Result<(), JobStoreError> {
    // A chain of jobs may be long, so this is no recursion.
    let mut ended = vec![first];
    while let Some((id, outcome)) = ended.pop() {
        for id in tables.resolve_edges(id, &outcome)? {
            let Some(mut dependant) = tables.job(id)?.filter(|dependant| dependant.state == State::Waiting) else {
                continue;
            };
            match dependant.after.readiness(&tables.edges(id)?) {
                Readiness::Waiting => continue,
                Readiness::Ready => dependant.release(now),
                Readiness::Impossible(dependency) => dependant.end_without_run(refused_by(dependency), now),
            }
            tables.update_job(&dependant, State::Waiting)?;
            effects.changed(&dependant);
            ended.extend(dependant.end.map(|end| (id, end.outcome)));
        }
    }
    Ok(())
}
