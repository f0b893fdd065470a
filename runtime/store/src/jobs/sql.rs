//! Runs statements, and translates their errors.

use capstan_engine::job::JobId;
use capstan_engine::job_store::JobStoreError;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::failure::failed;

pub(super) type Result<T> = std::result::Result<T, JobStoreError>;

/// Runs a statement that returns no rows. Returns how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, values: impl Params) -> Result<usize> {
    db.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed("write jobs.db"))
}

/// Returns the first row of a query as `read` reads it.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let reading = failed("read jobs.db");
    let mut statement = db.prepare_cached(sql).map_err(&reading)?;
    statement.query_row(values, |row| Ok(read(row))).optional().map_err(&reading)?.transpose()
}

/// Returns all rows of a query as `read` reads them.
pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let reading = failed("read jobs.db");
    let mut statement = db.prepare_cached(sql).map_err(&reading)?;
    let mut rows = statement.query(values).map_err(&reading)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&reading)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Returns the number of a job, by which other tables know it.
pub(super) fn number(db: &Connection, id: JobId) -> Result<Option<i64>> {
    first(db, "SELECT number FROM jobs WHERE id = ?1", [id.to_bytes()], |row| {
        row.get(0).map_err(failed("read jobs.db"))
    })
}
