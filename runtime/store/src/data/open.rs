//! [`SqliteDataStore::open`]: opens a store, and removes what a crash has left.

use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_engine::data::DataError;
use rusqlite::Connection;

use super::connection::{open_in_memory, open_writer};
use super::failure::{failed, file_failed};
use super::objects::delete_blob;
use super::readers::Readers;
use super::schema::migrate;
use super::sql::{Result, all, execute, first, get};
use super::writer::Writer;
use crate::lock_file::LockFile;

/// The directory of the store below the data directory.
pub const DIR: &str = "data";
/// Writes between two opens of a store, as a power of two.
const WRITES: u32 = 40;

/// A store in SQLite. Dropping the last clone waits for the changes that were accepted.
#[derive(Clone, Debug)]
pub struct SqliteDataStore(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    // Dropped in this order: the lock goes last.
    pub(super) writer: Writer,
    /// `None` for a store in memory.
    pub(super) readers: Option<Readers>,
    _lock: Option<LockFile>,
}

impl SqliteDataStore {
    /// Opens the store below the data directory `data`, and creates it if it does not exist. Blocks on the disk.
    ///
    /// # Errors
    /// [`DataError`] if another process has it open, its schema is newer, it is damaged, or it cannot be read and written.
    pub fn open(data: &Dir) -> Result<Self> {
        let dir = open_dir(data, DIR)?;
        let lock = LockFile::try_take(&dir, "lock").map_err(file_failed("lock the store"))?;
        let lock = lock.ok_or_else(|| {
            let reason = "another process has it open; stop that daemon, or use another data directory";
            DataError::io("open the store", reason)
        })?;
        let db = open_writer(&dir)?;
        let (db, revision) = prepare(db)?;
        dir.open(".").and_then(|dir| dir.sync_all()).map_err(file_failed("sync the directory of the store"))?;
        let writer = Writer::start(db, revision)?;
        let readers = Some(Readers::open(dir)?);
        Ok(Self(Arc::new(Inner { writer, readers, _lock: Some(lock) })))
    }

    /// Creates an empty store in memory, which ends with the last clone.
    ///
    /// # Errors
    /// [`DataError`] if there is no memory or no thread.
    pub fn in_memory() -> Result<Self> {
        let (db, revision) = prepare(open_in_memory()?)?;
        Ok(Self(Arc::new(Inner { writer: Writer::start(db, revision)?, readers: None, _lock: None })))
    }

    /// Returns how many transactions were committed since the store was opened. Changes that waited together share one.
    pub fn commits(&self) -> u64 {
        self.0.writer.commits()
    }
}

/// Brings a database to the present schema, and removes blobs that were being written or read when the last process ended. Returns it with a
/// number that is higher than all revisions.
fn prepare(mut db: Connection) -> Result<(Connection, i64)> {
    migrate(&mut db)?;
    let transaction = db.transaction().map_err(failed("open data.db"))?;
    for blob in all(&transaction, "SELECT id FROM blobs WHERE objects = 0", [], |row| get::<i64>(row, 0))? {
        delete_blob(&transaction, blob)?;
    }
    execute(&transaction, "UPDATE store SET opened = opened + 1", [])?;
    let opened: i64 = first(&transaction, "SELECT opened FROM store", [], |row| get(row, 0))?.unwrap_or_default();
    transaction.commit().map_err(failed("open data.db"))?;
    Ok((db, opened << WRITES))
}

/// Opens the directory `name` in `parent`, and creates it if it does not exist.
pub(super) fn open_dir(parent: &Dir, name: &str) -> Result<Dir> {
    match parent.create_dir(name) {
        Ok(()) => parent.open(".").and_then(|dir| dir.sync_all()).map_err(file_failed("create a directory"))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_failed("create a directory")(error)),
    }
    parent.open_dir(name).map_err(file_failed("open a directory"))
}
