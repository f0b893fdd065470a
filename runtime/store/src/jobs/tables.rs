//! [`SqliteTables`]: the tables in the database, inside one transaction.

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    After, AttemptRecord, End, JobRecord, JobStoreError, Lease, Plan, ScheduleRecord, State, SubmitKey, Tables,
};
use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::memory_state::MemoryState;
use super::rows::{self, JobContext, Links, get, json, micros, rank, state_number, stored};
use super::sealed;
use super::sql::{Result, all, execute, first, number};

/// The tables, inside a transaction of the connection that writes.
#[derive(Debug)]
pub(super) struct SqliteTables<'a> {
    pub(super) db: &'a Connection,
    pub(super) memory: &'a mut MemoryState,
}

impl SqliteTables<'_> {
    fn ids(&self, sql: &str, values: impl Params) -> Result<Vec<JobId>> {
        all(self.db, sql, values, |row| rows::id(row, 0))
    }

    fn number(&self, id: JobId) -> Result<i64> {
        number(self.db, id)?.ok_or_else(|| JobStoreError::damaged(format!("job {id}"), "it is not stored"))
    }
}

impl Tables for SqliteTables<'_> {
    fn job(&mut self, id: JobId) -> Result<Option<JobRecord>> {
        first(self.db, &format!("SELECT {} FROM jobs WHERE id = ?1", rows::JOB), [id.to_bytes()], rows::job)
    }

    fn insert_job(&mut self, job: &JobRecord, stdin: &Bytes, key: Option<&SubmitKey>) -> Result<()> {
        let context = JobContext::of(job);
        let after = (job.after != After::default()).then(|| job.after.clone());
        let links = Links { labels: job.labels.clone(), key: job.key.clone(), after };
        let end = job.end.as_ref();
        let id = job.id.to_bytes();
        execute(
            self.db,
            "INSERT INTO jobs (id, handler, lane, rank, state, submitted, not_before, start_deadline, due, attempt, \
             ended_runs, lost_runs, ended, outcome, outcome_kind, error, parent, array_id, array_index, links, plan, checksum, \
             is_synchronous) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
            params![
                id,
                job.handler.as_str(),
                job.lane(),
                rank(job),
                state_number(job.state),
                micros(job.submitted),
                job.not_before.map(micros),
                job.start_deadline.map(micros),
                job.due.map(micros),
                job.attempt,
                job.runs.ended,
                job.runs.lost,
                end.map(|end| micros(end.at)),
                end.map(|end| json(&end.outcome)).transpose()?,
                end.map(|end| end.outcome.kind()),
                end.and_then(|end| end.error.as_deref()),
                job.parent.map(JobId::to_bytes),
                job.array.map(|place| place.array.to_bytes()),
                job.array.map(|place| place.index),
                context.seal(&links)?,
                context.seal(&job.plan)?,
                rows::checksum(job)?,
                job.is_synchronous,
            ],
        )?;
        if !stdin.is_empty() {
            let sealed = sealed::seal(&[&id], stdin);
            execute(
                self.db,
                "INSERT INTO stdin (job, bytes) VALUES (?1, ?2)",
                params![self.db.last_insert_rowid(), sealed],
            )?;
        }
        for (name, value) in &job.labels {
            execute(self.db, "INSERT INTO labels (name, value, job) VALUES (?1, ?2, ?3)", params![name, value, id])?;
        }
        if let Some(key) = key {
            let values = params![key.text, id, key.digest, micros(key.expires)];
            execute(
                self.db,
                "INSERT OR REPLACE INTO keys (text, job, digest, expires) VALUES (?1, ?2, ?3, ?4)",
                values,
            )?;
        }
        self.memory.counts.add(job.handler.as_str(), job.state, 1);
        Ok(())
    }

    fn update_job(&mut self, job: &JobRecord, before: State) -> Result<()> {
        let end = job.end.as_ref();
        execute(
            self.db,
            "UPDATE jobs SET state = ?2, start_deadline = ?3, due = ?4, attempt = ?5, ended_runs = ?6, lost_runs = ?7, \
             cancel_requested = ?8, ended = ?9, outcome = ?10, outcome_kind = ?11, error = ?12, checksum = ?13 WHERE id = ?1",
            params![
                job.id.to_bytes(),
                state_number(job.state),
                job.start_deadline.map(micros),
                job.due.map(micros),
                job.attempt,
                job.runs.ended,
                job.runs.lost,
                job.cancel_requested.map(|by| by.to_string()),
                end.map(|end| micros(end.at)),
                end.map(|end| json(&end.outcome)).transpose()?,
                end.map(|end| end.outcome.kind()),
                end.and_then(|end| end.error.as_deref()),
                rows::checksum(job)?,
            ],
        )?;
        self.memory.counts.add(job.handler.as_str(), before, -1);
        self.memory.counts.add(job.handler.as_str(), job.state, 1);
        Ok(())
    }

    fn quarantine(&mut self, id: JobId, end: &End) -> Result<()> {
        let outcome = json(&end.outcome)?;
        let values = params![id.to_bytes(), micros(end.at), outcome, end.outcome.kind(), end.error];
        let sql = "UPDATE jobs SET state = 5, due = NULL, ended = ?2, outcome = ?3, outcome_kind = ?4, error = ?5 WHERE id = ?1";
        execute(self.db, sql, values)?;
        // The handler and the state of the damaged record cannot be trusted.
        self.memory.reload(self.db)
    }

    fn update_plan(&mut self, id: JobId, plan: &Plan) -> Result<()> {
        let Some(job) = self.job(id)? else { return Ok(()) };
        let plan = JobContext::of(&job).seal(plan)?;
        execute(self.db, "UPDATE jobs SET plan = ?2 WHERE id = ?1", params![id.to_bytes(), plan]).map(drop)
    }

    fn remove_job(&mut self, job: &JobRecord) -> Result<()> {
        let (id, number) = (job.id.to_bytes(), self.number(job.id)?);
        self.remove_output(number, job.handler.as_str())?;
        execute(self.db, "DELETE FROM attempts WHERE job = ?1", [number])?;
        execute(self.db, "DELETE FROM stdin WHERE job = ?1", [number])?;
        for (name, value) in &job.labels {
            execute(
                self.db,
                "DELETE FROM labels WHERE name = ?1 AND value = ?2 AND job = ?3",
                params![name, value, id],
            )?;
        }
        execute(self.db, "DELETE FROM edges WHERE dependant = ?1", [id])?;
        execute(self.db, "DELETE FROM jobs WHERE number = ?1", [number])?;
        self.memory.counts.add(job.handler.as_str(), job.state, -1);
        Ok(())
    }

    fn stdin(&mut self, id: JobId) -> Result<Bytes> {
        let sql = "SELECT bytes FROM stdin WHERE job = (SELECT number FROM jobs WHERE id = ?1)";
        let Some(sealed) = first(self.db, sql, [id.to_bytes()], |row| get::<Vec<u8>>(row, 0))? else {
            return Ok(Bytes::new());
        };
        let size = sealed::unseal(&[&id.to_bytes()], &sealed, || format!("the stdin of job {id}"))?.len();
        let checksum = sealed.len() - size;
        Ok(Bytes::from(sealed).slice(checksum..))
    }

    fn next_handler(&mut self, after: Option<&str>) -> Result<Option<String>> {
        let sql =
            "SELECT handler FROM jobs INDEXED BY queued WHERE state = 2 AND handler > ?1 ORDER BY handler LIMIT 1";
        first(self.db, sql, [after.unwrap_or_default()], |row| get(row, 0))
    }

    fn next_priority(&mut self, handler: &str, below: Option<i32>) -> Result<Option<i32>> {
        let above = below.map_or(i64::MIN, |below| -i64::from(below));
        let sql = "SELECT rank FROM jobs INDEXED BY queued \
                   WHERE state = 2 AND handler = ?1 AND rank > ?2 ORDER BY rank LIMIT 1";
        let rank: Option<i64> = first(self.db, sql, params![handler, above], |row| get(row, 0))?;
        let priority = rank.map(|rank| i32::try_from(-rank)).transpose();
        priority.map_err(|_| JobStoreError::damaged("jobs.db", "a priority is out of range"))
    }

    fn next_lane(&mut self, handler: &str, priority: i32, after: Option<&str>) -> Result<Option<(String, JobId)>> {
        let (rank, read) = (-i64::from(priority), |row: &Row<'_>| Ok((get(row, 0)?, rows::id(row, 1)?)));
        match after {
            None => {
                let sql = "SELECT lane, id FROM jobs INDEXED BY queued \
                           WHERE state = 2 AND handler = ?1 AND rank = ?2 ORDER BY lane, number LIMIT 1";
                first(self.db, sql, params![handler, rank], read)
            }
            Some(after) => {
                let sql = "SELECT lane, id FROM jobs INDEXED BY queued \
                           WHERE state = 2 AND handler = ?1 AND rank = ?2 AND lane > ?3 ORDER BY lane, number LIMIT 1";
                first(self.db, sql, params![handler, rank, after], read)
            }
        }
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>> {
        let sql = "SELECT id FROM jobs INDEXED BY due WHERE state IN (0, 4) AND due <= ?1 ORDER BY due LIMIT ?2";
        self.ids(sql, params![micros(now), stored(limit as u64)])
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>> {
        let sql = "SELECT id FROM jobs INDEXED BY start_deadlines WHERE start_deadline IS NOT NULL AND attempt = 0 \
                   AND state < 3 AND start_deadline <= ?1 ORDER BY start_deadline LIMIT ?2";
        self.ids(sql, params![micros(now), stored(limit as u64)])
    }

    fn running(&mut self, limit: usize) -> Result<Vec<JobId>> {
        let sql = "SELECT id FROM jobs INDEXED BY running WHERE state = 3 LIMIT ?1";
        self.ids(sql, [stored(limit as u64)])
    }

    fn depth(&mut self, handler: &str) -> Result<u64> {
        Ok(self.memory.counts.depth(handler))
    }

    fn is_paused(&mut self, handler: &str) -> Result<bool> {
        Ok(self.memory.paused.contains(handler))
    }

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRecord) -> Result<()> {
        let sql = "INSERT INTO attempts (job, number, worker, started) \
                   SELECT number, ?2, ?3, ?4 FROM jobs WHERE id = ?1";
        let values = params![job.to_bytes(), attempt.number, attempt.worker, micros(attempt.started)];
        execute(self.db, sql, values).map(drop)
    }

    fn finish_attempt(&mut self, lease: Lease, end: &End, usage: &UsageReport) -> Result<()> {
        let sql = "UPDATE attempts SET ended = ?3, outcome = ?4, error = ?5, usage = ?6, checksum = ?7 \
                   WHERE job = (SELECT number FROM jobs WHERE id = ?1) AND number = ?2";
        let (ended, outcome, usage) = (micros(end.at), json(&end.outcome)?, json(usage)?);
        let sum = rows::attempt_checksum(lease, ended, &outcome, end.error.as_deref(), &usage);
        let values = params![lease.job.to_bytes(), lease.attempt, ended, outcome, end.error, usage, sum];
        execute(self.db, sql, values).map(drop)
    }

    fn key(&mut self, text: &str) -> Result<Option<(JobId, SubmitKey)>> {
        let sql = "SELECT job, digest, expires FROM keys WHERE text = ?1";
        first(self.db, sql, [text], |row| {
            let key = SubmitKey { text: text.to_owned(), digest: get(row, 1)?, expires: rows::time(get(row, 2)?)? };
            Ok((rows::id(row, 0)?, key))
        })
    }

    fn remove_expired_keys(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        let sql = "DELETE FROM keys WHERE text IN (SELECT text FROM keys WHERE expires <= ?1 LIMIT ?2)";
        execute(self.db, sql, params![micros(now), stored(limit as u64)]).map(drop)
    }

    fn insert_edges(&mut self, dependant: &JobRecord, met: &[Option<bool>]) -> Result<()> {
        let sql = "INSERT INTO edges (dependency, dependant, position, met) VALUES (?1, ?2, ?3, ?4)";
        for (position, (edge, met)) in dependant.after.jobs.iter().zip(met).enumerate() {
            let values = params![edge.job.to_bytes(), dependant.id.to_bytes(), stored(position as u64), met];
            execute(self.db, sql, values)?;
        }
        Ok(())
    }

    fn resolve_edges(&mut self, dependency: JobId, outcome: &Outcome) -> Result<Vec<JobId>> {
        let sql = "SELECT DISTINCT dependant FROM edges WHERE dependency = ?1 AND met IS NULL";
        let dependants = self.ids(sql, [dependency.to_bytes()])?;
        for id in &dependants {
            let Some(job) = self.job(*id)? else { continue };
            for (position, edge) in job.after.jobs.iter().enumerate().filter(|(_, edge)| edge.job == dependency) {
                let sql = "UPDATE edges SET met = ?4 WHERE dependency = ?1 AND dependant = ?2 AND position = ?3";
                let met = edge.on.is_met_by(outcome);
                execute(self.db, sql, params![dependency.to_bytes(), id.to_bytes(), stored(position as u64), met])?;
            }
        }
        Ok(dependants)
    }

    fn edges(&mut self, dependant: JobId) -> Result<Vec<Option<bool>>> {
        let sql = "SELECT met FROM edges WHERE dependant = ?1 ORDER BY position";
        all(self.db, sql, [dependant.to_bytes()], |row| get(row, 0))
    }

    fn schedule(&mut self, name: &str) -> Result<Option<ScheduleRecord>> {
        let sql = "SELECT name, definition, is_paused, next, last, owner FROM schedules WHERE name = ?1";
        first(self.db, sql, [name], rows::schedule)
    }

    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO schedules (name, definition, is_paused, next, last, owner) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let definition = json(&schedule.definition)?;
        let (next, last) = (schedule.next.map(micros), schedule.last.map(micros));
        execute(self.db, sql, params![schedule.name, definition, schedule.is_paused, next, last, schedule.owner])
            .map(drop)
    }

    fn ended_handlers(&mut self) -> Result<Vec<String>> {
        let (mut found, mut last) = (Vec::new(), String::new());
        let sql = "SELECT handler FROM jobs INDEXED BY ended \
                   WHERE ended IS NOT NULL AND handler > ?1 ORDER BY handler LIMIT 1";
        while let Some(next) = first(self.db, sql, [&last], |row| get::<String>(row, 0))? {
            found.push(next.clone());
            last = next;
        }
        Ok(found)
    }

    fn first_ended(&mut self, handler: &str, limit: usize) -> Result<Vec<(JobId, Timestamp)>> {
        let sql = "SELECT id, ended FROM jobs INDEXED BY ended \
                   WHERE ended IS NOT NULL AND handler = ?1 ORDER BY ended, number LIMIT ?2";
        let read = |row: &Row<'_>| Ok((rows::id(row, 0)?, rows::time(get(row, 1)?)?));
        all(self.db, sql, params![handler, stored(limit as u64)], read)
    }

    fn count_ended(&mut self, handler: &str) -> Result<u64> {
        let sql = "SELECT count(*) FROM jobs INDEXED BY ended WHERE ended IS NOT NULL AND handler = ?1";
        Ok(first(self.db, sql, [handler], |row| rows::length(get(row, 0)?))?.unwrap_or(0))
    }

    fn output_bytes(&mut self, handler: &str) -> Result<u64> {
        let sql = "SELECT bytes FROM output_of_handlers WHERE handler = ?1";
        Ok(first(self.db, sql, [handler], |row| rows::length(get(row, 0)?))?.unwrap_or(0))
    }
}
