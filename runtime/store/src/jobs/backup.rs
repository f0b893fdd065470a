//! [`backup`] and [`restore`]: a copy of a store, and a store from a copy.

use std::io;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_engine::job_store::JobStoreError;
use rusqlite::Connection;

use super::check::{CheckReport, check_dir};
use super::connection::{FILE, open_unchanged, path_in};
use super::failure::{failed, file_failed};
use super::maintenance::{MaintenanceError, open_store, present_version};
use super::open::{DIR, SEGMENTS, SqliteJobStore, open_dir};
use super::segment_lock::SegmentLock;
use super::segments::{file_name, sizes};

/// The database of a backup until the backup is complete.
const UNFINISHED_FILE: &str = "jobs.db.unfinished";
/// Where a store is put together before it gets its name.
const UNFINISHED_DIR: &str = "jobs.restoring";

/// What a backup or a restored store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Bytes of all files.
    pub bytes: u64,
    /// Segments of output.
    pub segments: u64,
    /// What a check of the backup found.
    pub check: CheckReport,
}

/// Copies the store below the data directory `data` into `target`, a directory that is empty but for the copy of [`data`](crate::data), also while a daemon uses the store. The copy has
/// everything that was committed at one moment after it began, and nothing later. Checks the copy: damage of the store is in its report, and in the copy too.
/// Blocks on the disk.
///
/// The database of the copy gets its name last, when everything is on the disk.
///
/// # Errors
/// [`MaintenanceError`] if there is no store, its schema is not the present one, `target` is not empty, or the database or the disk fails.
/// What the backup has written is removed then.
pub fn backup(data: &Dir, target: &Dir) -> Result<CopyReport, MaintenanceError> {
    back_up(&open_store(data)?, target)
}

impl SqliteJobStore {
    /// Copies the store while it is in use, as [`backup`] does from outside.
    ///
    /// # Errors
    /// As [`backup`].
    pub fn backup(&self, target: &Dir) -> Result<CopyReport, MaintenanceError> {
        back_up(&self.dir, target)
    }
}

fn back_up(dir: &Dir, target: &Dir) -> Result<CopyReport, MaintenanceError> {
    let looking = file_failed("look into the directory of the backup");
    for entry in target.entries().map_err(&looking)? {
        // The copy of what handlers keep may be there already.
        if entry.map_err(&looking)?.file_name() != crate::data::FILE {
            return Err(MaintenanceError::NotEmpty);
        }
    }
    let result = try_back_up(dir, target);
    if result.is_err() {
        // What remains if this fails has no jobs.db, so that nobody takes it for a backup.
        for name in [FILE, UNFINISHED_FILE, &format!("{UNFINISHED_FILE}-journal")] {
            let _ = target.remove_file(name);
        }
        let _ = target.remove_dir_all(SEGMENTS);
    }
    result
}

fn try_back_up(dir: &Dir, target: &Dir) -> Result<CopyReport, MaintenanceError> {
    let mut report = copy(dir, target, UNFINISHED_FILE)?;
    report.check = check_dir(target, UNFINISHED_FILE)?;
    let finishing = file_failed("finish the copy");
    target.rename(UNFINISHED_FILE, target, FILE).and_then(|()| sync_dir(target)).map_err(finishing)?;
    Ok(report)
}

/// Returns whether there is a store below the data directory `data`.
///
/// # Errors
/// [`MaintenanceError::Store`]
pub fn exists(data: &Dir) -> Result<bool, MaintenanceError> {
    Ok(data.try_exists(DIR).map_err(file_failed("look into the data directory"))?)
}

/// Returns whether `backup` is the directory of a complete backup.
///
/// # Errors
/// [`MaintenanceError::Store`]
pub fn is_backup(backup: &Dir) -> Result<bool, MaintenanceError> {
    Ok(backup.try_exists(FILE).map_err(file_failed("read the backup"))?)
}

/// Makes a store below the data directory `data` from a backup. Checks the backup first. If `accept_damage`, what is damaged stays so in the
/// store. No daemon may use `data`. Blocks on the disk.
///
/// # Errors
/// [`MaintenanceError`] if `data` has a store, the backup is incomplete or damaged, or the disk fails. Nothing has changed then.
pub fn restore(backup: &Dir, data: &Dir, accept_damage: bool) -> Result<CopyReport, MaintenanceError> {
    let restoring = file_failed("restore the store");
    if data.try_exists(DIR).map_err(&restoring)? {
        return Err(MaintenanceError::StoreExists);
    }
    if !backup.try_exists(FILE).map_err(file_failed("read the backup"))? {
        return Err(MaintenanceError::NoBackup);
    }
    let check = check_dir(backup, FILE)?;
    if let Some(problem) = check.problems.first().filter(|_| !accept_damage) {
        let (what, reason) = (problem.what.clone(), problem.reason.clone());
        return Err(MaintenanceError::DamagedBackup { what, reason });
    }
    remove_unfinished(data)?;
    let result = try_restore(backup, data);
    if result.is_err() {
        let _ = remove_unfinished(data);
    }
    result.map(|report| CopyReport { check, ..report })
}

fn try_restore(backup: &Dir, data: &Dir) -> Result<CopyReport, MaintenanceError> {
    let report = copy(backup, &open_dir(data, UNFINISHED_DIR)?, FILE)?;
    let restoring = file_failed("restore the store");
    data.rename(UNFINISHED_DIR, data, DIR).and_then(|()| sync_dir(data)).map_err(restoring)?;
    Ok(report)
}

fn remove_unfinished(data: &Dir) -> Result<(), JobStoreError> {
    match data.remove_dir_all(UNFINISHED_DIR) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_failed("remove an unfinished store")(error)),
        _ => Ok(()),
    }
}

/// Copies what was committed in `source` to `target`, where the database gets the name `name`. Syncs everything.
fn copy(source: &Dir, target: &Dir, name: &str) -> Result<CopyReport, MaintenanceError> {
    let segments = open_dir(source, SEGMENTS)?;
    // From here on no segment is removed, so those that the copy names exist until they are copied. Records are only ever appended.
    let _lock = SegmentLock::share(&segments)?;
    let db = open_unchanged(source, FILE)?;
    present_version(&db)?;
    copy_database(&db, target, name)?;
    let copied = open_unchanged(target, name)?;
    let mut report = copy_segments(&copied, &segments, &open_dir(target, SEGMENTS)?)?;
    drop(copied);
    let syncing = file_failed("sync the copy");
    let file = target.open(name).map_err(&syncing)?;
    file.sync_all().and_then(|()| sync_dir(target)).map_err(&syncing)?;
    report.bytes += file.metadata().map_err(&syncing)?.len();
    Ok(report)
}

/// Copies the database in one transaction that reads.
fn copy_database(db: &Connection, target: &Dir, name: &str) -> Result<(), JobStoreError> {
    // SQLite would create a file that everyone can read. It accepts an empty one.
    create(target, name).map_err(file_failed("create the copy of the database"))?;
    // The pragma is about changes of any database, also of a new one.
    db.pragma_update(None, "query_only", false).map_err(failed("copy the database"))?;
    db.execute("VACUUM INTO ?1", [path_in(target, name)]).map_err(failed("copy the database"))?;
    Ok(())
}

/// Copies the segments that `db` names. What is missing of them is found by a check of the copy.
fn copy_segments(db: &Connection, source: &Dir, target: &Dir) -> Result<CopyReport, JobStoreError> {
    let copying = file_failed("copy output");
    let mut report = CopyReport::default();
    for (number, size) in sizes(db)? {
        let name = file_name(number);
        let from = match source.open(&name) {
            Ok(from) => from,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(copying(error)),
        };
        let mut to = create(target, &name).map_err(&copying)?;
        report.bytes += io::copy(&mut io::Read::take(from, size), &mut to).map_err(&copying)?;
        to.sync_all().map_err(&copying)?;
        report.segments += 1;
    }
    sync_dir(target).map_err(&copying)?;
    Ok(report)
}

/// Creates a file that only its owner can read.
fn create(dir: &Dir, name: &str) -> io::Result<cap_std::fs::File> {
    dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(0o600))
}

fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}
