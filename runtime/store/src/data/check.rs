//! [`check`]: reads everything that a store has, and reports what is wrong.

use cap_std::fs::Dir;
use capstan_engine::data::DataError;
use rusqlite::Connection;

use super::connection::{FILE, open_reader};
use super::entries::checksum_of;
use super::failure::{failed, file_failed};
use super::open::DIR;
use super::schema::check_present;
use super::sql::{Result, all, count, first, get};

/// The most problems that a report has.
const MAX_PROBLEMS: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataCheck {
    pub keys: u64,
    pub objects: u64,
    /// At most 100 of them.
    pub problems: Vec<String>,
}

/// Checks the store below the data directory `data`, also while a daemon uses it. Returns `None` if there is none. Blocks on the disk; reads all
/// of the store.
///
/// # Errors
/// [`DataError`] if its schema is not the present one, or it cannot be read.
pub fn check(data: &Dir) -> Result<Option<DataCheck>> {
    let path = format!("{DIR}/{FILE}");
    if !data.try_exists(&path).map_err(file_failed("look for data.db"))? {
        return Ok(None);
    }
    let dir = data.open_dir(DIR).map_err(file_failed("open a directory"))?;
    check_file(&dir, FILE).map(Some)
}

/// Checks the database `name` in `dir`: that of a store, or a backup.
pub(super) fn check_file(dir: &Dir, name: &str) -> Result<DataCheck> {
    let mut report = DataCheck::default();
    let result = open_reader(dir, name).and_then(|db| {
        let snapshot = db.unchecked_transaction().map_err(failed("read data.db"))?;
        check_present(&snapshot)?;
        check_all(&snapshot, &mut report)
    });
    match result {
        // So damaged that the check itself cannot go on.
        Err(DataError::Damaged { what, reason }) => report.problems.push(format!("{what}: {reason}")),
        result => result?,
    }
    report.problems.truncate(MAX_PROBLEMS);
    Ok(report)
}

fn check_all(db: &Connection, report: &mut DataCheck) -> Result<()> {
    let mut lines = all(db, "PRAGMA integrity_check(100)", [], |row| get::<String>(row, 0))?;
    lines.retain(|line| line != "ok");
    report.problems.append(&mut lines);
    let number = |sql| Ok(first(db, sql, [], |row| count(row, 0))?.unwrap_or(0));
    report.keys = number("SELECT count(*) FROM entries")?;
    report.objects = number("SELECT count(*) FROM objects")?;
    // One row at a time: values together may be larger than memory.
    each(db, "SELECT key, value, checksum FROM entries", report, |row| {
        let (key, value): (String, Vec<u8>) = (get(row, 0)?, get(row, 1)?);
        let is_right = get::<u32>(row, 2)? == checksum_of(&key, &value);
        Ok((!is_right).then(|| format!("the value of the key {key:?}: its checksum is wrong")))
    })?;
    each(db, "SELECT blob, number, bytes, checksum FROM pieces", report, |row| {
        let is_right = get::<u32>(row, 3)? == crc32fast::hash(&get::<Vec<u8>>(row, 2)?);
        let (blob, number): (i64, i64) = (get(row, 0)?, get(row, 1)?);
        Ok((!is_right).then(|| format!("piece {number} of blob {blob}: its checksum is wrong")))
    })?;
    for (sql, what) in SUMS {
        each(db, sql, report, |row| Ok(Some(format!("{what} {}", get::<String>(row, 0)?))))?;
    }
    Ok(())
}

/// Queries for records that contradict others, and what is wrong with them.
const SUMS: [(&str, &str); 3] = [
    (
        "SELECT name FROM buckets WHERE keys <> (SELECT count(*) FROM entries WHERE bucket = buckets.id) OR bytes <> \
         (SELECT coalesce(sum(octet_length(key) + length(value)), 0) FROM entries WHERE bucket = buckets.id)",
        "the sums are not those of the keys: bucket",
    ),
    (
        "SELECT CAST(id AS TEXT) FROM blobs WHERE size <> \
         (SELECT coalesce(sum(length(bytes)), 0) FROM pieces WHERE blob = blobs.id)",
        "the size is not the sum of the pieces: blob",
    ),
    (
        "SELECT name FROM owners WHERE bytes <> \
         (SELECT coalesce(sum(bytes), 0) FROM buckets WHERE owner = owners.id) + \
         (SELECT coalesce(sum(size), 0) FROM blobs WHERE owner = owners.id) + \
         (SELECT coalesce(sum(octet_length(name)), 0) FROM containers WHERE owner = owners.id) + \
         (SELECT coalesce(sum(octet_length(objects.name)), 0) FROM objects JOIN containers ON containers.id = objects.container \
          WHERE containers.owner = owners.id)",
        "the sum is not that of its data: handler",
    ),
];

fn each(
    db: &Connection,
    sql: &str,
    report: &mut DataCheck,
    find: impl Fn(&rusqlite::Row<'_>) -> Result<Option<String>>,
) -> Result<()> {
    let reading = failed("read data.db");
    let mut statement = db.prepare(sql).map_err(&reading)?;
    let mut rows = statement.query([]).map_err(&reading)?;
    while let Some(row) = rows.next().map_err(&reading)? {
        if let Some(problem) = find(row)?
            && report.problems.len() < MAX_PROBLEMS
        {
            report.problems.push(problem);
        }
    }
    Ok(())
}
