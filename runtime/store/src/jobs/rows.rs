//! The rows of the tables as records.

use std::collections::BTreeMap;

use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::retry::RunCount;
use capstan_core::usage::UsageReport;
use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    After, ArrayIndex, AttemptRecord, End, JobRecord, JobStoreError, Lease, Plan, ScheduleRecord, State,
};
use jiff::Timestamp;
use rusqlite::Row;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sealed;

/// The columns that [`job`] reads.
pub(super) const JOB: &str = "id, handler, lane, rank, state, submitted, not_before, start_deadline, due, attempt, \
     ended_runs, lost_runs, cancel_requested, ended, outcome, error, parent, array_id, array_index, links, plan, checksum, \
     is_synchronous";

/// The columns that [`attempt`] reads.
pub(super) const ATTEMPT: &str = "number, worker, started, ended, outcome, error, usage, printed, checksum";

type Result<T> = std::result::Result<T, JobStoreError>;

/// The parts of a job that the database does not search for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Links {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<After>,
}

/// What the checksums of a job cover besides the bytes: what says which job it is.
#[derive(Clone, Debug)]
pub(super) struct JobContext {
    id: [u8; 16],
    handler: String,
    lane: String,
    rank: [u8; 8],
}

impl JobContext {
    pub(super) fn new(id: JobId, handler: &str, lane: &str, rank: i64) -> Self {
        Self { id: id.to_bytes(), handler: handler.to_owned(), lane: lane.to_owned(), rank: rank.to_le_bytes() }
    }

    pub(super) fn of(job: &JobRecord) -> Self {
        Self::new(job.id, job.handler.as_str(), job.lane(), rank(job))
    }

    pub(super) fn seal(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(value).map_err(|error| JobStoreError::io("write a job", error))?;
        Ok(sealed::seal(&[&self.id, self.handler.as_bytes(), self.lane.as_bytes(), &self.rank], &json))
    }

    fn unseal<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        let what = || format!("job {}", JobId::from_bytes(self.id));
        let context: &[&[u8]] = &[&self.id, self.handler.as_bytes(), self.lane.as_bytes(), &self.rank];
        let json = sealed::unseal(context, bytes, what)?;
        serde_json::from_slice(json).map_err(|error| JobStoreError::damaged(what(), error))
    }
}

/// Returns the place of a job's priority in the order of the queue.
pub(super) fn rank(job: &JobRecord) -> i64 {
    -i64::from(job.priority)
}

/// Reads the columns [`JOB`].
pub(super) fn job(row: &Row<'_>) -> Result<JobRecord> {
    let id = id(row, 0)?;
    let what = || format!("job {id}");
    let handler: String = get(row, 1)?;
    let lane: String = get(row, 2)?;
    let rank: i64 = get(row, 3)?;
    let context = JobContext::new(id, &handler, &lane, rank);
    let links: Links =
        context.unseal(row.get_ref(19).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default())?;
    let plan: Plan = context.unseal(row.get_ref(20).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default())?;
    let array_index: Option<u32> = get(row, 18)?;
    let array = optional_id(row, 17)?.zip(array_index).map(|(array, index)| ArrayIndex { array, index });
    let cancel: Option<String> = get(row, 12)?;
    let priority = i32::try_from(-rank).map_err(|_| JobStoreError::damaged(what(), "its priority is out of range"))?;
    let job = JobRecord {
        id,
        handler: HandlerName::new(&handler).map_err(|error| JobStoreError::damaged(what(), error))?,
        plan,
        labels: links.labels,
        concurrency_key: (!lane.is_empty()).then_some(lane),
        priority,
        not_before: optional_time(row, 6)?,
        start_deadline: optional_time(row, 7)?,
        key: links.key,
        array,
        parent: optional_id(row, 16)?,
        after: links.after.unwrap_or_default(),
        state: state(get(row, 4)?).ok_or_else(|| JobStoreError::damaged(what(), "its state does not exist"))?,
        submitted: time(get(row, 5)?)?,
        due: optional_time(row, 8)?,
        attempt: get(row, 9)?,
        runs: RunCount { ended: get(row, 10)?, lost: get(row, 11)? },
        cancel_requested: cancel.map(|by| cancelled_by(&by)).transpose()?,
        end: end(row, 13)?,
        is_synchronous: get(row, 22)?,
    };
    match get::<u32>(row, 21)? == checksum(&job)? {
        true => Ok(job),
        false => Err(JobStoreError::damaged(what(), "its checksum is wrong")),
    }
}

/// Returns the checksum of what [`JobContext`] does not seal.
pub(super) fn checksum(job: &JobRecord) -> Result<u32> {
    let times = [Some(job.submitted), job.not_before, job.start_deadline, job.due, job.end.as_ref().map(|end| end.at)];
    let end = job.end.as_ref().map(|end| (&end.outcome, &end.error));
    let counts = (job.attempt, job.runs.ended, job.runs.lost);
    let fields = (state_number(job.state), times.map(|time| time.map(micros)), counts, job.cancel_requested, end);
    let sealed = serde_json::to_vec(&(fields, job.parent, job.array));
    sealed
        .map(|bytes| sealed::checksum(&[&job.id.to_bytes()], &bytes))
        .map_err(|error| JobStoreError::io("write a job", error))
}

/// Reads the columns [`ATTEMPT`] of an attempt of `job`.
pub(super) fn attempt(row: &Row<'_>, job: JobId) -> Result<AttemptRecord> {
    let usage: Option<String> = get(row, 6)?;
    if let Some(ended) = get::<Option<i64>>(row, 3)? {
        let lease = Lease { job, attempt: get(row, 0)? };
        let (outcome, error): (String, Option<String>) = (get(row, 4)?, get(row, 5)?);
        let sum = attempt_checksum(lease, ended, &outcome, error.as_deref(), usage.as_deref().unwrap_or_default());
        if get::<Option<u32>>(row, 8)? != Some(sum) {
            let what = format!("attempt {} of job {job}", lease.attempt);
            return Err(JobStoreError::damaged(what, "its checksum is wrong"));
        }
    }
    let usage = usage.map(|usage| parse::<UsageReport>(&usage)).transpose()?.unwrap_or_default();
    let (number, worker) = (get(row, 0)?, get(row, 1)?);
    let output: i64 = get(row, 7)?;
    Ok(AttemptRecord {
        number,
        worker,
        started: time(get(row, 2)?)?,
        end: end(row, 3)?,
        usage,
        output: length(output)?,
    })
}

/// Returns the checksum of the end of an attempt.
pub(super) fn attempt_checksum(lease: Lease, ended: i64, outcome: &str, error: Option<&str>, usage: &str) -> u32 {
    let context: &[&[u8]] = &[
        &lease.job.to_bytes(),
        &lease.attempt.to_le_bytes(),
        &ended.to_le_bytes(),
        outcome.as_bytes(),
        error.unwrap_or_default().as_bytes(),
    ];
    sealed::checksum(context, usage.as_bytes())
}

/// Reads `name, definition, is_paused, next, last, owner`.
pub(super) fn schedule(row: &Row<'_>) -> Result<ScheduleRecord> {
    let definition: String = get(row, 1)?;
    Ok(ScheduleRecord {
        name: get(row, 0)?,
        definition: parse(&definition)?,
        is_paused: get(row, 2)?,
        next: optional_time(row, 3)?,
        last: optional_time(row, 4)?,
        owner: get(row, 5)?,
    })
}

/// Reads the time, outcome and error of an end from the column `first` on.
fn end(row: &Row<'_>, first: usize) -> Result<Option<End>> {
    let Some(at) = optional_time(row, first)? else { return Ok(None) };
    let outcome: String = get(row, first + 1)?;
    Ok(Some(End { outcome: parse::<Outcome>(&outcome)?, error: get(row, first + 2)?, at }))
}

/// Returns the number of a state in the database.
pub(super) fn state_number(state: State) -> i64 {
    let place = State::ALL.iter().position(|other| *other == state).expect("all states are in State::ALL");
    i64::try_from(place).expect("there are few states")
}

pub(super) fn state(number: i64) -> Option<State> {
    State::ALL.get(usize::try_from(number).ok()?).copied()
}

/// Returns a time as it is stored. The last second that there is has no fractions, because [`Timestamp::from_microsecond`] refuses them:
/// a time that never comes must be readable.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond().min(Timestamp::MAX.as_second() * 1_000_000)
}

pub(super) fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|error| JobStoreError::damaged("jobs.db", error))
}

/// Returns a length or position.
pub(super) fn length(stored: i64) -> Result<u64> {
    u64::try_from(stored).map_err(|_| JobStoreError::damaged("jobs.db", format!("a length is {stored}")))
}

/// Returns a length or position in the database. None is near the limit of its type.
pub(super) fn stored(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    get::<Option<i64>>(row, column)?.map(time).transpose()
}

pub(super) fn id(row: &Row<'_>, column: usize) -> Result<JobId> {
    get::<[u8; 16]>(row, column).map(JobId::from_bytes)
}

fn optional_id(row: &Row<'_>, column: usize) -> Result<Option<JobId>> {
    Ok(get::<Option<[u8; 16]>>(row, column)?.map(JobId::from_bytes))
}

/// Reads a column.
pub(super) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Result<T> {
    row.get(column).map_err(|error| JobStoreError::damaged("jobs.db", error))
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| JobStoreError::damaged("jobs.db", error))
}

/// Returns `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| JobStoreError::io("write a record", error))
}

fn cancelled_by(token: &str) -> Result<CancelledBy> {
    parse(&format!("\"{token}\""))
}
