//! Reads jobs, queues and schedules.

use std::collections::BTreeMap;

use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    AttemptRecord, JobDetails, JobFilter, JobPage, JobStoreError, QueueStatus, ScheduleRecord,
};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::memory_state::MemoryState;
use super::rows::{self, get, micros, state_number, stored};
use super::sql::{Result, all, first};

/// Returns a job with its attempts.
pub(super) fn details(db: &Connection, id: JobId) -> Result<Option<JobDetails>> {
    let sql = format!("SELECT {} FROM jobs WHERE id = ?1", rows::JOB);
    let Some(job) = first(db, &sql, [id.to_bytes()], rows::job)? else { return Ok(None) };
    Ok(Some(JobDetails { job, attempts: attempts(db, id)? }))
}

/// Returns the attempts of a job, the first one first.
fn attempts(db: &Connection, id: JobId) -> Result<Vec<AttemptRecord>> {
    let sql = format!(
        "SELECT {} FROM attempts WHERE job = (SELECT number FROM jobs WHERE id = ?1) ORDER BY number",
        rows::ATTEMPT
    );
    all(db, &sql, [id.to_bytes()], |row| rows::attempt(row, id))
}

/// Returns at most two ids that start with `prefix`.
pub(super) fn find_by_prefix(db: &Connection, prefix: &str) -> Result<Vec<JobId>> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if prefix.len() > 32 || !prefix.bytes().all(is_digit) {
        return Ok(Vec::new());
    }
    let end = |digit: &str| -> Result<[u8; 16]> {
        let text = format!("{prefix}{}", digit.repeat(32 - prefix.len()));
        let id: JobId = text.parse().map_err(|error| JobStoreError::io("read an id", error))?;
        Ok(id.to_bytes())
    };
    let sql = "SELECT id FROM jobs WHERE id BETWEEN ?1 AND ?2 LIMIT 2";
    all(db, sql, [end("0")?, end("f")?], |row| rows::id(row, 0))
}

/// Returns a page of the jobs that match `filter`. A job whose record is damaged is left out, and named in the log.
pub(super) fn query(db: &Connection, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage> {
    let (conditions, mut values) = conditions(filter, before);
    let mut sql = format!("SELECT {} FROM jobs WHERE {conditions} ORDER BY id DESC LIMIT ?", rows::JOB);
    if filter.handler.is_none() && filter.array.is_none() && filter.parent.is_none() {
        // The order of the ids is the order of the result; any other index would have to sort.
        sql = sql.replace(" FROM jobs ", " FROM jobs INDEXED BY sqlite_autoindex_jobs_1 ");
    }
    values.push(Value::Integer(stored(limit as u64).saturating_add(1)));
    let mut found = all(db, &sql, rusqlite::params_from_iter(values), |row| Ok((rows::id(row, 0)?, rows::job(row))))?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = if is_last { None } else { found.last().map(|(id, _)| *id) };
    let mut jobs = Vec::with_capacity(found.len());
    for (id, job) in found {
        match job.and_then(|job| Ok(JobDetails { job, attempts: attempts(db, id)? })) {
            Ok(details) => jobs.push(details),
            Err(error @ JobStoreError::Damaged { .. }) => tracing::warn!(job = %id, "left out of a list: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(JobPage { jobs, next })
}

/// Returns the conditions of a query, and the values of their parameters in order.
fn conditions(filter: &JobFilter, before: Option<JobId>) -> (String, Vec<Value>) {
    let mut conditions = Conditions { sql: "1".to_owned(), values: Vec::new() };
    let list = |items: Vec<String>| Value::Text(format!(",{},", items.join(",")));
    let blob = |id: JobId| Value::Blob(id.to_bytes().to_vec());
    let text = |text: &String| Value::Text(text.clone());
    if let Some(id) = before {
        conditions.add("id < ?", [blob(id)]);
    }
    if let Some(handler) = &filter.handler {
        conditions.add("handler = ?", [text(handler)]);
    }
    if !filter.states.is_empty() {
        let numbers = filter.states.iter().map(|state| state_number(*state).to_string()).collect();
        conditions.add("instr(?, ',' || state || ',') > 0", [list(numbers)]);
    }
    if !filter.outcomes.is_empty() {
        conditions.add("instr(?, ',' || outcome_kind || ',') > 0", [list(filter.outcomes.clone())]);
    }
    for (name, value) in &filter.labels {
        conditions.add("id IN (SELECT job FROM labels WHERE name = ? AND value = ?)", [text(name), text(value)]);
    }
    // The ids of jobs that were submitted later are mostly higher, but the time of submission decides.
    if let Some(since) = filter.since {
        conditions.add("submitted >= ?", [Value::Integer(micros(since))]);
    }
    if let Some(until) = filter.until {
        conditions.add("submitted < ?", [Value::Integer(micros(until))]);
    }
    if let Some(since) = filter.ended_since {
        conditions.add("ended >= ?", [Value::Integer(micros(since))]);
    }
    if let Some(error) = &filter.error {
        // `instr` and `lower` know no wildcards, and change ASCII letters only.
        conditions.add("instr(lower(error), ?) > 0", [Value::Text(error.to_ascii_lowercase())]);
    }
    if let Some(array) = filter.array {
        conditions.add("array_id = ?", [blob(array)]);
    }
    if let Some(parent) = filter.parent {
        conditions.add("parent = ?", [blob(parent)]);
    }
    (conditions.sql, conditions.values)
}

struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn add<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }
}

/// Returns the queues, by name.
pub(super) fn queues(db: &Connection, memory: &MemoryState) -> Result<Vec<QueueStatus>> {
    let mut queues = BTreeMap::new();
    let name = |handler: &str| HandlerName::new(handler).map_err(|error| JobStoreError::damaged("jobs.db", error));
    for handler in &memory.paused {
        queues.insert(handler.clone(), QueueStatus::empty(name(handler)?, true));
    }
    for (handler, counts) in memory.counts.iter() {
        let is_paused = memory.paused.contains(handler);
        let mut status = QueueStatus::empty(name(handler)?, is_paused);
        counts.for_each(|(state, count)| status.count(state, count));
        let sql = "SELECT submitted FROM jobs INDEXED BY queued_by_age \
                   WHERE state = 2 AND handler = ?1 ORDER BY number LIMIT 1";
        status.oldest = first(db, sql, [handler], |row| rows::time(get(row, 0)?))?;
        queues.insert(handler.to_owned(), status);
    }
    Ok(queues.into_values().collect())
}

/// Returns all schedules, by name.
pub(super) fn schedules(db: &Connection) -> Result<Vec<ScheduleRecord>> {
    all(db, "SELECT name, definition, is_paused, next, last, owner FROM schedules ORDER BY name", [], rows::schedule)
}

/// Returns when the next job comes due or misses its start deadline.
pub(super) fn next_due(db: &Connection) -> Result<Option<Timestamp>> {
    let mut times = Vec::new();
    for sql in [
        "SELECT min(due) FROM jobs INDEXED BY due WHERE state IN (0, 4)",
        "SELECT min(start_deadline) FROM jobs INDEXED BY start_deadlines \
         WHERE start_deadline IS NOT NULL AND attempt = 0 AND state < 3",
    ] {
        let found = first(db, sql, [], |row| get::<Option<i64>>(row, 0))?.flatten();
        times.extend(found.map(rows::time).transpose()?);
    }
    Ok(times.into_iter().min())
}
