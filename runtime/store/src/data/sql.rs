//! Runs statements, and translates their errors.

use capstan_engine::data::DataError;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::failure::failed;

pub(super) type Result<T> = std::result::Result<T, DataError>;

/// Runs a statement that returns no rows. Returns how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, values: impl Params) -> Result<usize> {
    db.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed("write data.db"))
}

/// Runs a statement that adds a row, and returns the number of the row.
pub(super) fn insert(db: &Connection, sql: &str, values: impl Params) -> Result<i64> {
    execute(db, sql, values)?;
    Ok(db.last_insert_rowid())
}

/// Returns the first row of a query as `read` reads it.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let reading = failed("read data.db");
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
    let reading = failed("read data.db");
    let mut statement = db.prepare_cached(sql).map_err(&reading)?;
    let mut rows = statement.query(values).map_err(&reading)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&reading)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Returns the column `index` of a row.
pub(super) fn get<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T> {
    row.get(index).map_err(failed("read data.db"))
}

/// Returns the column `index` of a row, which is a size or a count.
pub(super) fn count(row: &Row<'_>, index: usize) -> Result<u64> {
    let value: i64 = get(row, index)?;
    u64::try_from(value).map_err(|_| DataError::damaged("data.db", format!("a count is {value}")))
}

/// Returns a size or a count as the database has it.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
