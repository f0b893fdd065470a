//! Connections to the database.

use std::time::Duration;

use cap_std::fs::Dir;
use capstan_engine::data::DataError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::failed;
use crate::jobs::path_in;

/// The file of the database in its directory.
pub const FILE: &str = "data.db";
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;
/// Pages in the log from which on a commit also moves them into the database: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;

/// Opens the connection that writes. Creates the database if it does not exist. A commit is on the disk when it returns.
pub(super) fn open_writer(dir: &Dir) -> Result<Connection, DataError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = failed("open data.db");
    let db = Connection::open_with_flags(path_in(dir, FILE), flags).map_err(&opening)?;
    // Must be set before the first table is created.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(&opening)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(&opening)?;
    if mode != "wal" {
        return Err(DataError::io("open data.db", format!("the file system supports no shared log (mode {mode})")));
    }
    db.pragma_update(None, "synchronous", "FULL").map_err(&opening)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(&opening)?;
    db.pragma_update(None, "journal_size_limit", 64 << 20).map_err(&opening)?;
    configure(&db, 8 << 10)?;
    Ok(db)
}

/// Opens a connection that reads the database `name`, also while other processes use it. If it is the last one, it does not move the log into the
/// database when it is closed: a damaged log stays as it is.
pub(super) fn open_reader(dir: &Dir, name: &str) -> Result<Connection, DataError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = failed("open data.db");
    let db = Connection::open_with_flags(path_in(dir, name), flags).map_err(&opening)?;
    db.pragma_update(None, "query_only", true).map_err(&opening)?;
    configure(&db, 2 << 10)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&opening)?;
    Ok(db)
}

/// Opens an empty database in memory.
pub(super) fn open_in_memory() -> Result<Connection, DataError> {
    let db = Connection::open_in_memory().map_err(failed("open a database in memory"))?;
    configure(&db, 2 << 10)?;
    Ok(db)
}

fn configure(db: &Connection, cache_kibibytes: i32) -> Result<(), DataError> {
    let configuring = failed("configure data.db");
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(Duration::from_secs(10)).map_err(&configuring)?;
    db.pragma_update(None, "cache_size", -cache_kibibytes).map_err(&configuring)?;
    // Sorting must not open files elsewhere: the daemon has given up the right to.
    db.pragma_update(None, "temp_store", "MEMORY").map_err(&configuring)?;
    db.pragma_update(None, "cell_size_check", true).map_err(&configuring)?;
    db.pragma_update(None, "trusted_schema", false).map_err(&configuring)?;
    Ok(())
}
