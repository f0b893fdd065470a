//! [`SqliteJobStore::backup`] and [`restore`]: a copy of a store, and a store from a copy.

use std::io;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_engine::job_store::JobStoreError;
use rusqlite::Connection;

use super::check::{CheckReport, check_dir};
use super::connection::{FILE, open_reader, path_in};
use super::failure::{failed, file_failed};
use super::open::{DIR, SEGMENTS, SqliteJobStore, open_dir};
use super::segments::{file_name, sizes};

/// Where a store is put together before it gets its name.
const UNFINISHED: &str = "jobs.restoring";

/// What a backup or a restored store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Bytes of all files.
    pub bytes: u64,
    /// Segments of output.
    pub segments: u64,
}

impl SqliteJobStore {
    /// Copies the store into `target`, an empty directory: everything that was committed when the copy began. Jobs go on meanwhile. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// [`JobStoreError`] if `target` has a store already, or the disk fails. `target` is then incomplete.
    pub fn backup(&self, target: &Dir) -> Result<CopyReport, JobStoreError> {
        refuse_existing(target)?;
        // From here on no segment is removed, so those that the copy names exist until they are copied.
        let _hold = self.segment_hold.hold();
        let db = open_reader(&self.dir)?;
        db.pragma_update(None, "query_only", false).map_err(failed("copy the database"))?;
        db.execute("VACUUM INTO ?1", [path_in(target, FILE)]).map_err(failed("copy the database"))?;
        let copied = Connection::open(path_in(target, FILE)).map_err(failed("read the copy"))?;
        let mut report = copy_segments(&copied, &self.segments, &open_dir(target, SEGMENTS)?)?;
        drop(copied);
        report.bytes += sync(target, FILE)?;
        Ok(report)
    }
}

/// Makes a store below the data directory `data` from a backup. Checks the backup first. Blocks on the disk.
///
/// # Errors
/// [`JobStoreError`] if `data` has a store, or the backup is damaged. The error names the first problem. Nothing has changed then.
pub fn restore(backup: &Dir, data: &Dir) -> Result<CopyReport, JobStoreError> {
    let restoring = file_failed("restore the store");
    if data.try_exists(format!("{DIR}/{FILE}")).map_err(&restoring)? {
        let reason = format!("{DIR}/{FILE} exists; move the directory {DIR} away first");
        return Err(JobStoreError::io("restore the store", reason));
    }
    let CheckReport { problems, .. } = check_dir(backup)?;
    if let Some(problem) = problems.into_iter().next() {
        return Err(JobStoreError::damaged(format!("the backup, at {}", problem.what), problem.reason));
    }
    for left_over in [UNFINISHED, DIR] {
        match data.remove_dir_all(left_over) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(restoring(error)),
            _ => {}
        }
    }
    let target = open_dir(data, UNFINISHED)?;
    let source = Connection::open(path_in(backup, FILE)).map_err(failed("read the backup"))?;
    source.execute("VACUUM INTO ?1", [path_in(&target, FILE)]).map_err(failed("copy the database"))?;
    let mut report = copy_segments(&source, &open_dir(backup, SEGMENTS)?, &open_dir(&target, SEGMENTS)?)?;
    report.bytes += sync(&target, FILE)?;
    data.rename(UNFINISHED, data, DIR).and_then(|()| data.open(".")?.sync_all()).map_err(&restoring)?;
    Ok(report)
}

fn refuse_existing(target: &Dir) -> Result<(), JobStoreError> {
    match target.try_exists(FILE) {
        Ok(false) => Ok(()),
        Ok(true) => {
            Err(JobStoreError::io("back up the store", format!("the target has a {FILE}; use an empty directory")))
        }
        Err(error) => Err(file_failed("back up the store")(error)),
    }
}

/// Copies the segments that `db` names.
fn copy_segments(db: &Connection, source: &Dir, target: &Dir) -> Result<CopyReport, JobStoreError> {
    let copying = file_failed("copy output");
    let mut report = CopyReport::default();
    for (number, size) in sizes(db)? {
        let name = file_name(number);
        let mut from = io::Read::take(source.open(&name).map_err(&copying)?, size);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut to = target.open_with(&name, &options).map_err(&copying)?;
        report.bytes += io::copy(&mut from, &mut to).map_err(&copying)?;
        to.sync_all().map_err(&copying)?;
        report.segments += 1;
    }
    target.open(".").and_then(|dir| dir.sync_all()).map_err(&copying)?;
    Ok(report)
}

/// Syncs the file `name` and its directory. Returns its size.
fn sync(dir: &Dir, name: &str) -> Result<u64, JobStoreError> {
    let syncing = file_failed("sync the copy");
    let file = dir.open(name).map_err(&syncing)?;
    file.sync_all().and_then(|()| dir.open(".")?.sync_all()).map_err(&syncing)?;
    Ok(file.metadata().map_err(&syncing)?.len())
}
