//! Connections to the database.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use cap_std::fs::Dir;
use capstan_engine::job_store::JobStoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::failed;

/// The file of the database in its directory.
pub(super) const FILE: &str = "jobs.db";
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 96;
/// Pages in the log from which on a commit also moves them into the database: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;

/// Whether a commit is on the disk when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// It is.
    #[default]
    Full,
    /// It is some time later: acknowledged jobs are lost when the machine loses power. Tests use it to show that they notice.
    Off,
}

/// Returns a path of the file `name` in `dir`. SQLite opens files by path; this one leads nowhere but into `dir`, whatever its own path is.
pub(crate) fn path_in(dir: &Dir, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())
}

/// Opens the connection that writes. Creates the database if it does not exist.
pub(super) fn open_writer(dir: &Dir, synchronous: Synchronous) -> Result<Connection, JobStoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = failed("open jobs.db");
    let db = Connection::open_with_flags(path_in(dir, FILE), flags).map_err(&opening)?;
    // Must be set before the first table is created.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(&opening)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(&opening)?;
    if mode != "wal" {
        return Err(JobStoreError::io("open jobs.db", format!("the file system supports no shared log (mode {mode})")));
    }
    let level = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Off => "OFF",
    };
    db.pragma_update(None, "synchronous", level).map_err(&opening)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(&opening)?;
    db.pragma_update(None, "journal_size_limit", 64 << 20).map_err(&opening)?;
    configure(&db, 16 << 10)?;
    Ok(db)
}

/// Opens a connection that reads.
pub(super) fn open_reader(dir: &Dir) -> Result<Connection, JobStoreError> {
    open_to_read(dir, FILE)
}

/// Opens a connection that reads the database `name` in `dir`, also while other processes use it. If it is the last one, it does not move
/// the log into the database when it is closed: a damaged log stays as it is.
pub(super) fn open_unchanged(dir: &Dir, name: &str) -> Result<Connection, JobStoreError> {
    let db = open_to_read(dir, name)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed("configure jobs.db"))?;
    Ok(db)
}

fn open_to_read(dir: &Dir, name: &str) -> Result<Connection, JobStoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = failed("open jobs.db");
    let db = Connection::open_with_flags(path_in(dir, name), flags).map_err(&opening)?;
    db.pragma_update(None, "query_only", true).map_err(&opening)?;
    configure(&db, 2 << 10)?;
    Ok(db)
}

fn configure(db: &Connection, cache_kibibytes: i32) -> Result<(), JobStoreError> {
    let configuring = failed("configure jobs.db");
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(Duration::from_secs(10)).map_err(&configuring)?;
    db.pragma_update(None, "cache_size", -cache_kibibytes).map_err(&configuring)?;
    // Sorting must not open files elsewhere: the daemon has given up the right to.
    db.pragma_update(None, "temp_store", "MEMORY").map_err(&configuring)?;
    db.pragma_update(None, "cell_size_check", true).map_err(&configuring)?;
    db.pragma_update(None, "trusted_schema", false).map_err(&configuring)?;
    Ok(())
}
