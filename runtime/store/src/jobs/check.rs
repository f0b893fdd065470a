//! [`check`]: reads everything that a store has, and reports what is wrong.

use cap_std::fs::Dir;
use capstan_engine::job::JobId;
use capstan_engine::job_store::JobStoreError;
use rusqlite::{Connection, Row};

use super::connection::{FILE, open_unchanged};
use super::failure::{failed, file_failed};
use super::lock;
use super::maintenance::{MaintenanceError, open_store, present_version};
use super::open::{SEGMENTS, SqliteJobStore, open_dir};
use super::rows::{self, get, length};
use super::segment_lock::SegmentLock;
use super::segments::{RecordName, file_name, read_record, sizes};
use super::sql::{all, first};
use super::{output, schema, sealed, wal};

/// The most problems that a report has.
const MAX_PROBLEMS: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The version of the schema, or `None` if the database is too damaged to say.
    pub version: Option<usize>,
    pub jobs: u64,
    pub attempts: u64,
    /// Chunks of output.
    pub chunks: u64,
    /// At most 100 of them.
    pub problems: Vec<Problem>,
    /// Further problems.
    pub more_problems: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The file or the record.
    pub what: String,
    pub reason: String,
}

/// What a problem affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The structure of the database.
    Database,
    /// The log of the database.
    Log,
    /// One job, or the end of one of its attempts.
    Job,
    /// Output of jobs.
    Output,
}

impl ProblemKind {
    /// Returns its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Log => "log",
            Self::Job => "job",
            Self::Output => "output",
        }
    }

    /// Returns what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Database => "restore a backup",
            Self::Log => {
                "after a power cut nothing is lost; otherwise the last jobs may be missing, then restore a backup or submit them again"
            }
            Self::Job => "remove the job or restore a backup; other jobs are not affected",
            Self::Output => "nothing needs to be done: the output is shown as missing; a backup may have it",
        }
    }
}

/// Checks the store below the data directory `data`, also while a daemon uses it. What it reads is of one moment. Changes nothing. Blocks on
/// the disk; reads all of the store.
///
/// # Errors
/// [`MaintenanceError`] if there is no store, its schema is not the present one, or it cannot be read.
pub fn check(data: &Dir) -> Result<CheckReport, MaintenanceError> {
    let dir = open_store(data)?;
    let ignored = ignored_frames(&dir)?;
    let mut report = check_dir(&dir, FILE)?;
    if ignored > 0 {
        let reason = format!("{ignored} frames have wrong checksums and are ignored");
        report.add(ProblemKind::Log, format!("{FILE}-wal"), reason);
    }
    Ok(report)
}

impl SqliteJobStore {
    /// Checks the store while it is in use, as [`check`] does from outside.
    ///
    /// # Errors
    /// [`JobStoreError`] if the store cannot be read at all.
    pub async fn check(&self) -> Result<CheckReport, JobStoreError> {
        let segments = self.segments.clone();
        let check = self.readers.read(move |db| {
            // Before the first read, with which the transaction begins.
            let _lock = SegmentLock::share(&segments)?;
            let mut report = CheckReport { version: Some(schema::version(db)?), ..CheckReport::default() };
            check_all(db, &segments, &mut report)?;
            Ok(report)
        });
        check.await
    }
}

/// Returns how many frames of the log SQLite ignores. While the store is open there are none: frames that are just being written look like
/// it, and the daemon has counted the frames when it opened the store.
fn ignored_frames(dir: &Dir) -> Result<u64, JobStoreError> {
    let count =
        || wal::ignored_frames(dir, &format!("{FILE}-wal")).map_err(file_failed("read the log of the database"));
    if count()? == 0 {
        return Ok(0);
    }
    match lock::take(dir) {
        Ok(_lock) => count(),
        Err(_in_use) => Ok(0),
    }
}

/// Checks the database `name` and the segments in `dir`: a store, or a backup.
pub(super) fn check_dir(dir: &Dir, name: &str) -> Result<CheckReport, MaintenanceError> {
    let segments = open_dir(dir, SEGMENTS)?;
    let _lock = SegmentLock::share(&segments)?;
    let mut report = CheckReport::default();
    match check_database(dir, name, &segments, &mut report) {
        // So damaged that the check itself cannot go on.
        Err(MaintenanceError::Store(JobStoreError::Damaged { what, reason })) => {
            report.add(ProblemKind::Database, &*what, &*reason);
        }
        result => result?,
    }
    Ok(report)
}

fn check_database(dir: &Dir, name: &str, segments: &Dir, report: &mut CheckReport) -> Result<(), MaintenanceError> {
    let db = open_unchanged(dir, name)?;
    let snapshot = db.unchecked_transaction().map_err(failed("read jobs.db"))?;
    report.version = Some(present_version(&snapshot)?);
    Ok(check_all(&snapshot, segments, report)?)
}

/// Checks everything that a connection sees.
fn check_all(db: &Connection, segments: &Dir, report: &mut CheckReport) -> Result<(), JobStoreError> {
    for problem in all(db, "PRAGMA integrity_check(100)", [], |row| get::<String>(row, 0))? {
        if problem != "ok" {
            report.add(ProblemKind::Database, FILE, problem);
        }
    }
    check_jobs(db, report)?;
    check_output(db, segments, report)?;
    for (number, size) in sizes(db)? {
        let found = segments.metadata(file_name(number)).map_or(0, |metadata| metadata.len());
        if found < size {
            let reason = format!("it has {found} bytes instead of {size}");
            report.add(ProblemKind::Output, format!("output/{}", file_name(number)), reason);
        }
    }
    let sums = "SELECT handler FROM output_of_handlers WHERE bytes <> \
                (SELECT coalesce(sum(bytes), 0) FROM output_of_jobs WHERE handler = output_of_handlers.handler)";
    for handler in all(db, sums, [], |row| get::<String>(row, 0))? {
        let what = format!("the output of handler {handler}");
        report.add(ProblemKind::Database, what, "its size is not the sum of its jobs");
    }
    Ok(())
}

fn check_jobs(db: &Connection, report: &mut CheckReport) -> Result<(), JobStoreError> {
    let count = |sql| Ok(first(db, sql, [], |row| length(get(row, 0)?))?.unwrap_or(0));
    report.jobs = count("SELECT count(*) FROM jobs")?;
    report.attempts = count("SELECT count(*) FROM attempts")?;
    let sql = format!("SELECT {} FROM jobs ORDER BY number", rows::JOB);
    each(db, &sql, ProblemKind::Job, report, |row| rows::job(row).map(drop))?;
    let sql = format!("SELECT {}, (SELECT id FROM jobs WHERE jobs.number = attempts.job) FROM attempts", rows::ATTEMPT);
    each(db, &sql, ProblemKind::Job, report, |row| rows::attempt(row, rows::id(row, 9)?).map(drop))?;
    let sql = "SELECT jobs.id, stdin.bytes FROM stdin LEFT JOIN jobs ON jobs.number = stdin.job";
    each(db, sql, ProblemKind::Job, report, |row| {
        let (id, bytes): ([u8; 16], Vec<u8>) = (get(row, 0)?, get(row, 1)?);
        let what = || format!("the stdin of job {}", JobId::from_bytes(id));
        sealed::unseal(&[&id], &bytes, what).map(drop)
    })?;
    let sql = "SELECT count(*) FROM jobs WHERE state = 3 AND NOT EXISTS (SELECT 1 FROM attempts \
               WHERE attempts.job = jobs.number AND attempts.number = jobs.attempt AND attempts.ended IS NULL)";
    let without_attempt = count(sql)?;
    if without_attempt > 0 {
        report.add(ProblemKind::Database, FILE, format!("{without_attempt} running jobs have no running attempt"));
    }
    Ok(())
}

fn check_output(db: &Connection, segments: &Dir, report: &mut CheckReport) -> Result<(), JobStoreError> {
    let sql = "SELECT job, attempt, position, length, bytes, segment, offset FROM output";
    let mut chunks = 0;
    each(db, sql, ProblemKind::Output, report, |row| {
        chunks += 1;
        let name = RecordName { job: get(row, 0)?, attempt: get(row, 1)?, position: length(get(row, 2)?)? };
        let size = length(get(row, 3)?)?;
        match (get::<Option<Vec<u8>>>(row, 4)?, get::<Option<i64>>(row, 5)?, get::<Option<i64>>(row, 6)?) {
            (Some(sealed), ..) => output::unseal(name, &sealed).map(drop),
            (None, Some(segment), Some(offset)) => {
                read_record(segments, segment, length(offset)?, name, size).map(drop)
            }
            _ => Err(JobStoreError::damaged(FILE, "a chunk of output has no place")),
        }
    })?;
    report.chunks = chunks;
    Ok(())
}

/// Reads all rows of a query. A row that is damaged becomes a problem of the report; the rest is read on.
fn each(
    db: &Connection,
    sql: &str,
    kind: ProblemKind,
    report: &mut CheckReport,
    mut read: impl FnMut(&Row<'_>) -> Result<(), JobStoreError>,
) -> Result<(), JobStoreError> {
    let mut problems = Vec::new();
    let read = all(db, sql, [], |row| match read(row) {
        Err(JobStoreError::Damaged { what, reason }) => {
            problems.push((what.to_string(), reason.to_string()));
            Ok(())
        }
        result => result,
    });
    for (what, reason) in problems {
        report.add(kind, what, reason);
    }
    match read {
        // The pages of the table itself are damaged: what follows cannot be read.
        Err(JobStoreError::Damaged { what, reason }) => {
            report.add(ProblemKind::Database, &*what, format!("{reason}, while reading: {sql}"));
            Ok(())
        }
        result => result.map(drop),
    }
}

impl CheckReport {
    fn add(&mut self, kind: ProblemKind, what: impl Into<String>, reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { kind, what: what.into(), reason: reason.into() });
        } else {
            self.more_problems += 1;
        }
    }
}
