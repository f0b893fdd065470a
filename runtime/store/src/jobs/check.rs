//! [`check`]: reads everything that a store has, and reports what is wrong.

use cap_std::fs::Dir;
use capstan_engine::job::JobId;
use capstan_engine::job_store::JobStoreError;
use rusqlite::{Connection, Row};

use super::connection::{FILE, Synchronous, open_writer};
use super::lock::Lock;
use super::open::{DIR, SEGMENTS, SqliteJobStore, open_dir};
use super::rows::{self, get, length};
use super::segments::{RecordName, file_name, read_record, sizes};
use super::sql::{all, first};
use super::{output, schema, sealed, wal};

/// The most problems that a report has.
const MAX_PROBLEMS: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The version of the schema.
    pub version: usize,
    pub jobs: u64,
    pub attempts: u64,
    /// Chunks of output.
    pub chunks: u64,
    /// At most 100 of them.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or the record.
    pub what: String,
    pub reason: String,
}

/// Checks the store below `data`, which must not be open. Blocks on the disk; reads all of the store.
///
/// # Errors
/// [`JobStoreError`] if it cannot be opened at all. If the database itself is damaged so much, restore a backup.
pub fn check(data: &Dir) -> Result<CheckReport, JobStoreError> {
    let dir = data.open_dir(DIR).map_err(super::failure::file_failed("open the store"))?;
    let _lock = Lock::take(&dir)?;
    check_dir(&dir)
}

impl SqliteJobStore {
    /// Checks the store while it is in use, as [`check`] does one that is not.
    ///
    /// # Errors
    /// [`JobStoreError`] if the store cannot be read at all.
    pub async fn check(&self) -> Result<CheckReport, JobStoreError> {
        let segments = self.segments.clone();
        let check = self.readers.read(move |db| {
            let mut report = CheckReport { version: schema::version(db)?, ..CheckReport::default() };
            check_all(db, &segments, &mut report)?;
            Ok(report)
        });
        check.await
    }
}

/// Checks a store or a backup in `dir` itself.
pub(super) fn check_dir(dir: &Dir) -> Result<CheckReport, JobStoreError> {
    let reading = super::failure::file_failed("read the store");
    if !dir.try_exists(FILE).map_err(&reading)? {
        return Err(JobStoreError::io("check the store", format!("there is no {FILE}")));
    }
    let ignored = wal::ignored_frames(dir, &format!("{FILE}-wal")).map_err(&reading)?;
    let db = open_writer(dir, Synchronous::Full)?;
    let (version, known) = (schema::version(&db)?, schema::MIGRATIONS.len());
    if version != known {
        let reason = format!("its schema has version {version}, and this capstan checks version {known}");
        return Err(JobStoreError::io("check jobs.db", reason));
    }
    let mut report = CheckReport { version, ..CheckReport::default() };
    if ignored > 0 {
        report.add(format!("{FILE}-wal"), format!("{ignored} frames have wrong checksums and are ignored"));
    }
    check_all(&db, &open_dir(dir, SEGMENTS)?, &mut report)?;
    Ok(report)
}

/// Checks everything that a connection sees.
fn check_all(db: &Connection, segments: &Dir, report: &mut CheckReport) -> Result<(), JobStoreError> {
    for problem in all(db, "PRAGMA integrity_check(100)", [], |row| get::<String>(row, 0))? {
        if problem != "ok" {
            report.add(FILE, problem);
        }
    }
    check_jobs(db, report)?;
    check_output(db, segments, report)?;
    for (number, size) in sizes(db)? {
        let found = segments.metadata(file_name(number)).map_or(0, |metadata| metadata.len());
        if found < size {
            report.add(format!("output/{}", file_name(number)), format!("it has {found} bytes instead of {size}"));
        }
    }
    let sums = "SELECT handler FROM output_of_handlers WHERE bytes <> \
                (SELECT coalesce(sum(bytes), 0) FROM output_of_jobs WHERE handler = output_of_handlers.handler)";
    for handler in all(db, sums, [], |row| get::<String>(row, 0))? {
        report.add(format!("the output of handler {handler}"), "its size is not the sum of its jobs");
    }
    Ok(())
}

fn check_jobs(db: &Connection, report: &mut CheckReport) -> Result<(), JobStoreError> {
    let count = |sql| Ok(first(db, sql, [], |row| length(get(row, 0)?))?.unwrap_or(0));
    report.jobs = count("SELECT count(*) FROM jobs")?;
    report.attempts = count("SELECT count(*) FROM attempts")?;
    let sql = format!("SELECT {} FROM jobs ORDER BY number", rows::JOB);
    each(db, &sql, report, |row| rows::job(row).map(drop))?;
    let sql = format!("SELECT {}, (SELECT id FROM jobs WHERE jobs.number = attempts.job) FROM attempts", rows::ATTEMPT);
    each(db, &sql, report, |row| rows::attempt(row, rows::id(row, 9)?).map(drop))?;
    let sql = "SELECT jobs.id, stdin.bytes FROM stdin LEFT JOIN jobs ON jobs.number = stdin.job";
    each(db, sql, report, |row| {
        let (id, bytes): ([u8; 16], Vec<u8>) = (get(row, 0)?, get(row, 1)?);
        let what = || format!("the stdin of job {}", JobId::from_bytes(id));
        sealed::unseal(&[&id], &bytes, what).map(drop)
    })?;
    let sql = "SELECT count(*) FROM jobs WHERE state = 3 AND NOT EXISTS (SELECT 1 FROM attempts \
               WHERE attempts.job = jobs.number AND attempts.number = jobs.attempt AND attempts.ended IS NULL)";
    let without_attempt = count(sql)?;
    if without_attempt > 0 {
        report.add(FILE, format!("{without_attempt} running jobs have no running attempt"));
    }
    Ok(())
}

fn check_output(db: &Connection, segments: &Dir, report: &mut CheckReport) -> Result<(), JobStoreError> {
    let sql = "SELECT job, attempt, position, length, bytes, segment, offset FROM output";
    let mut chunks = 0;
    each(db, sql, report, |row| {
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

/// Reads all rows of a query. What is damaged becomes a problem of the report; the rest is read on.
fn each(
    db: &Connection,
    sql: &str,
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
        report.add(what, reason);
    }
    match read {
        // The pages of the table itself are damaged: what follows cannot be read.
        Err(JobStoreError::Damaged { what, reason }) => {
            report.add(what.to_string(), format!("{reason}, while reading: {sql}"));
            Ok(())
        }
        result => result.map(drop),
    }
}

impl CheckReport {
    fn add(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { what: what.into(), reason: reason.into() });
        }
    }
}
