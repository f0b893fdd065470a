//! [`SqliteJobStore::open`]: opens a store, repairs what a crash left, and ends what ran.

use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_engine::job_store::rules::{Effects, recover, submit_follow_ups};
use capstan_engine::job_store::{FollowUps, JobStoreError, Now, StoreLimits, Watchers};
use rusqlite::Connection;

use super::connection::{FILE, Synchronous, open_writer};
use super::failure::{failed, file_failed};
use super::lock;
use super::memory_state::MemoryState;
use super::readers::Readers;
use super::schema::{MIGRATIONS, migrate};
use super::segments::{Segments, ShortSegment};
use super::tables::SqliteTables;
use super::wal;
use super::writer::Writer;
use crate::lock_file::LockFile;

/// The directory of the store below the data directory.
pub(super) const DIR: &str = "jobs";
/// The directory of the segments in that of the store.
pub(super) const SEGMENTS: &str = "output";

/// A store in SQLite. Dropping it waits for the changes that were accepted.
#[derive(Debug)]
pub struct SqliteJobStore {
    // Dropped in this order: the lock goes last.
    pub(super) writer: Writer,
    pub(super) readers: Readers,
    pub(super) watchers: Watchers,
    pub(super) dir: Arc<Dir>,
    pub(super) segments: Arc<Dir>,
    _lock: LockFile,
}

/// How a store is opened.
#[derive(Clone, Debug, Default)]
pub struct SqliteOptions {
    pub limits: StoreLimits,
    pub synchronous: Synchronous,
    /// Decides which jobs follow the end of a job. `None`, the default, is none.
    pub follow_ups: Option<Arc<dyn FollowUps>>,
}

/// What the opening of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Attempts that ran when the last process ended, and are recorded as lost.
    pub lost_attempts: u64,
    /// The copy that was made of the database before its schema changed.
    pub copy_before_migration: Option<String>,
    /// Segments that are damaged. Their output is shown as missing.
    pub short_segments: Vec<ShortSegment>,
    /// Frames at the end of the database's log that were ignored, because their checksums are wrong. After a power cut they were never
    /// acknowledged. After a clean stop or a crash of the daemon alone, more than the last few mean that the disk has damaged the log, and
    /// that jobs may be missing.
    pub ignored_log_frames: u64,
}

impl SqliteJobStore {
    /// Opens the store below the data directory `data`, and creates it if it does not exist. Blocks on the disk.
    ///
    /// Attempts that ran when the last process ended are recorded as lost at `now`.
    ///
    /// # Errors
    /// [`JobStoreError`] if another process has it open, its schema is newer, it is damaged, or it cannot be read and written.
    pub fn open(data: &Dir, options: SqliteOptions, now: Now) -> Result<(Self, OpenReport), JobStoreError> {
        let dir = Arc::new(open_dir(data, DIR)?);
        let lock = lock::take(&dir)?;
        let segments_dir = Arc::new(open_dir(&dir, SEGMENTS)?);
        let log = format!("{FILE}-wal");
        let ignored_log_frames =
            wal::ignored_frames(&dir, &log).map_err(file_failed("read the log of the database"))?;
        let mut db = open_writer(&dir, options.synchronous)?;
        let copy_before_migration = migrate(&mut db, &dir, MIGRATIONS)?;
        dir.open(".").and_then(|dir| dir.sync_all()).map_err(file_failed("sync the directory of the store"))?;
        let (segments, short_segments) = Segments::open(segments_dir.clone(), &db, options.synchronous)?;
        let mut memory = MemoryState::load(&db, segments)?;
        let lost_attempts = recover_all(&db, &mut memory, options.follow_ups.as_ref(), now)?;
        let watchers = Watchers::default();
        let writer = Writer::start(db, memory, options.limits, watchers.clone(), options.follow_ups)?;
        let readers = Readers::open(dir.clone())?;
        let report = OpenReport { lost_attempts, copy_before_migration, short_segments, ignored_log_frames };
        let segments = segments_dir;
        Ok((Self { writer, readers, watchers, dir, segments, _lock: lock }, report))
    }

    /// Returns how many transactions were committed since the store was opened. Changes that waited together share one.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

/// Opens the directory `name` in `parent`, and creates it if it does not exist.
pub(super) fn open_dir(parent: &Dir, name: &str) -> Result<Dir, JobStoreError> {
    match parent.create_dir(name) {
        Ok(()) => parent.open(".").and_then(|dir| dir.sync_all()).map_err(file_failed("create a directory"))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_failed("create a directory")(error)),
    }
    parent.open_dir(name).map_err(file_failed("open a directory"))
}

/// Ends all attempts that the last process ran.
fn recover_all(
    db: &Connection,
    memory: &mut MemoryState,
    follow_ups: Option<&Arc<dyn FollowUps>>,
    now: Now,
) -> Result<u64, JobStoreError> {
    let mut total = 0;
    loop {
        let transaction = db.unchecked_transaction().map_err(failed("recover jobs"))?;
        // Nobody watches the store yet, and no lease is held.
        let (mut tables, mut effects) =
            (SqliteTables { db: &transaction, memory }, Effects::followed_by(follow_ups.cloned()));
        let found = recover(&mut tables, &mut effects, now)?;
        submit_follow_ups(&mut tables, &mut effects)?;
        transaction.commit().map_err(failed("recover jobs"))?;
        total += found as u64;
        if found == 0 {
            return Ok(total);
        }
    }
}
