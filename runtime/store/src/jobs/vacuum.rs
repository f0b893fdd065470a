//! [`vacuum`]: gives unused space back to the file system.

use cap_std::fs::Dir;
use capstan_engine::job_store::{JobStoreError, Now};
use rusqlite::{Connection, Row, params};

use super::connection::{FILE, open_unchanged};
use super::failure::failed;
use super::maintenance::{MaintenanceError, open_store, present_version};
use super::open::{SqliteJobStore, SqliteOptions};
use super::rows::{get, length, stored};
use super::segments::{RecordName, read_record};
use super::sql::{all, execute, first};
use super::tables::SqliteTables;

/// Records that one transaction moves.
const BATCH: usize = 64;
/// Pages that one transaction gives back.
const PAGES: u32 = 2000;

/// What a vacuum has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Bytes of the database and of the segments, before and after.
    pub before: u64,
    pub after: u64,
    /// Records of output that were moved together.
    pub moved: u64,
    /// Records that could not be read, and are shown as missing from now on.
    pub damaged: u64,
}

/// Vacuums the store below the data directory `data`, which must not be open. Opens the store for this, as a daemon that starts does:
/// attempts without an end are recorded as lost at `now`. Blocks on the disk.
///
/// # Errors
/// [`MaintenanceError`] if there is no store, its schema is not the present one, it is open, or the disk fails.
pub async fn vacuum(data: &Dir, now: Now) -> Result<VacuumReport, MaintenanceError> {
    present_version(&open_unchanged(&open_store(data)?, FILE)?)?;
    let (store, _) = SqliteJobStore::open(data, SqliteOptions::default(), now)?;
    Ok(store.vacuum().await?)
}

impl SqliteJobStore {
    /// Moves output out of segments that are mostly unneeded, and gives the unused pages of the database back. Jobs go on meanwhile.
    ///
    /// # Errors
    /// [`JobStoreError`]. What was done until then stays.
    pub async fn vacuum(&self) -> Result<VacuumReport, JobStoreError> {
        let mut report = VacuumReport { before: self.size().await?, ..VacuumReport::default() };
        self.writer.change(|write| write.tables.memory.segments.close_active(write.tables.db)).await?;
        let sql = "SELECT number FROM segments WHERE live * 2 < size";
        let sparse = self.writer.change(|write| all(write.tables.db, sql, [], |row| get::<i64>(row, 0))).await?;
        for segment in sparse {
            loop {
                let dir = self.segments.clone();
                let moved = self.writer.change(move |write| move_records(&mut write.tables, &dir, segment)).await?;
                let Some((moved, damaged)) = moved else { break };
                report.moved += moved;
                report.damaged += damaged;
            }
        }
        while self.writer.change(|write| give_back_pages(write.tables.db)).await? {}
        report.after = self.size().await?;
        Ok(report)
    }

    async fn size(&self) -> Result<u64, JobStoreError> {
        let size = self.writer.change(|write| {
            let pragma = |name: &str| write.tables.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let pages = pragma("page_count").and_then(|count| Ok(count * pragma("page_size")?));
            let segments = "SELECT coalesce(sum(size), 0) FROM segments";
            let segments = first(write.tables.db, segments, [], |row| length(get(row, 0)?))?.unwrap_or(0);
            Ok(length(pages.map_err(failed("read its size"))?)? + segments)
        });
        size.await
    }
}

/// Moves records out of `segment`. Returns how many were moved and how many were damaged, or `None` if there are none left.
fn move_records(tables: &mut SqliteTables<'_>, dir: &Dir, segment: i64) -> Result<Option<(u64, u64)>, JobStoreError> {
    let sql = "SELECT job, attempt, position, length, offset FROM output WHERE segment = ?1 LIMIT ?2";
    let read = |row: &Row<'_>| {
        let name = RecordName { job: get(row, 0)?, attempt: get(row, 1)?, position: length(get(row, 2)?)? };
        Ok((name, length(get(row, 3)?)?, length(get(row, 4)?)?))
    };
    let records = all(tables.db, sql, params![segment, stored(BATCH as u64)], read)?;
    if records.is_empty() {
        // Also one that was full when its last record was removed.
        tables.memory.segments.release(tables.db, segment, 0)?;
        return Ok(None);
    }
    let (mut moved, mut damaged) = (0, 0);
    for (name, size, offset) in records {
        match read_record(dir, segment, offset, name, size) {
            Ok(bytes) => {
                let (to, offset) = tables.memory.segments.append(tables.db, name, &bytes)?;
                let sql =
                    "UPDATE output SET segment = ?4, offset = ?5 WHERE job = ?1 AND attempt = ?2 AND position = ?3";
                let values = params![name.job, name.attempt, stored(name.position), to, stored(offset)];
                execute(tables.db, sql, values)?;
                moved += 1;
            }
            Err(JobStoreError::Damaged { .. }) => {
                tables.drop_chunk(name)?;
                damaged += 1;
            }
            Err(error) => return Err(error),
        }
        tables.memory.segments.release(tables.db, segment, size)?;
    }
    Ok(Some((moved, damaged)))
}

/// Gives some unused pages back. Returns whether there are more.
fn give_back_pages(db: &Connection) -> Result<bool, JobStoreError> {
    let vacuuming = failed("vacuum");
    // The pragma returns a row for each page.
    all(db, &format!("PRAGMA incremental_vacuum({PAGES})"), [], |_| Ok(()))?;
    let left: i64 = db.pragma_query_value(None, "freelist_count", |row| row.get(0)).map_err(&vacuuming)?;
    Ok(left > 0)
}
