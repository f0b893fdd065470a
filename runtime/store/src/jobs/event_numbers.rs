//! The numbers of events that are used.

use capstan_engine::job_store::EventNumbers;
use rusqlite::{Connection, params};

use super::rows::{get, length, stored};
use super::sql::{Result, execute, first};

/// Returns the numbers that were written last.
pub(super) fn read(db: &Connection) -> Result<Option<EventNumbers>> {
    first(db, "SELECT first, reserved, last FROM event_numbers", [], |row| {
        let last: Option<i64> = get(row, 2)?;
        Ok(EventNumbers {
            first: length(get(row, 0)?)?,
            reserved: length(get(row, 1)?)?,
            last: last.map(length).transpose()?,
        })
    })
}

/// Replaces the numbers.
pub(super) fn write(db: &Connection, numbers: EventNumbers) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO event_numbers (id, first, reserved, last) VALUES (0, ?1, ?2, ?3)";
    let values = params![stored(numbers.first), stored(numbers.reserved), numbers.last.map(stored)];
    execute(db, sql, values).map(drop)
}
