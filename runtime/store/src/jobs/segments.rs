//! [`Segments`]: files to which large output is appended.
//!
//! ```text
//! record = length (4 bytes) · checksum (4) · number of the job (8) · attempt (4) · position (8) · output
//! ```
//!
//! The database says up to which size a segment is valid, and where each record is. A record is written and synced before the commit that
//! names it. What follows the valid size was never acknowledged, and is cut off when the store is opened. A segment that no record is needed
//! of is removed.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use capstan_engine::job_store::JobStoreError;
use rusqlite::{Connection, params};

use super::connection::Synchronous;
use super::failure::file_failed;
use super::rows::{get, length, stored};
use super::sealed;
use super::segment_lock::SegmentLock;
use super::sql::{all, execute};

/// The size from which on a segment takes no more records.
const MAX_SIZE: u64 = 16 << 20;
/// The bytes of a record before its output.
const HEADER: usize = 28;

/// Which record it is. It is a part of the record, so that no other one is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordName {
    pub(super) job: i64,
    pub(super) attempt: u32,
    pub(super) position: u64,
}

/// The segments, as the thread that writes sees them.
#[derive(Debug)]
pub(super) struct Segments {
    dir: Arc<Dir>,
    synchronous: Synchronous,
    /// The segment that takes records.
    active: Option<Active>,
    /// Segments that can be removed once the transaction is committed.
    unneeded: Vec<i64>,
    /// The highest number that a segment has had. No number is used twice: somebody may still read the file that had it, and a change
    /// that is undone needs it again.
    last: i64,
    /// Segments that are shorter than the database says. They take no records.
    damaged: Vec<i64>,
}

#[derive(Debug)]
struct Active {
    number: i64,
    file: std::fs::File,
    /// Where the next record goes.
    size: u64,
    is_dirty: bool,
}

/// A segment that is not as the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortSegment {
    pub file: String,
    /// Bytes that it should have.
    pub expected: u64,
    /// Bytes that it has, or `None` if the file does not exist.
    pub found: Option<u64>,
}

/// Returns the name of a segment's file.
pub(super) fn file_name(number: i64) -> String {
    format!("{number:08}.segment")
}

impl Segments {
    /// Opens the segments in `dir`: cuts off what was never acknowledged, and removes files that the database does not name.
    pub(super) fn open(
        dir: Arc<Dir>,
        db: &Connection,
        synchronous: Synchronous,
    ) -> Result<(Self, Vec<ShortSegment>), JobStoreError> {
        let valid = sizes(db)?;
        let mut short = Vec::new();
        let mut last = valid.keys().next_back().copied().unwrap_or(0);
        let mut unneeded = Vec::new();
        for entry in dir.entries().map_err(file_failed("list the segments"))? {
            let name = entry.map_err(file_failed("list the segments"))?.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(".segment").and_then(|number| number.parse::<i64>().ok());
            let Some(number) = number.filter(|number| file_name(*number) == name) else { continue };
            last = last.max(number);
            if !valid.contains_key(&number) {
                unneeded.push(number);
            }
        }
        let mut segments = Self { dir, synchronous, active: None, unneeded, last, damaged: Vec::new() };
        segments.remove_unneeded();
        for (number, size) in &valid {
            let found = match segments.dir.metadata(file_name(*number)) {
                Ok(metadata) => Some(metadata.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(file_failed("read a segment")(error)),
            };
            if found.is_none_or(|found| found < *size) {
                short.push(ShortSegment { file: file_name(*number), expected: *size, found });
                segments.damaged.push(*number);
            } else if found.is_some_and(|found| found > *size) {
                let file = segments.open_to_write(*number, false)?;
                file.set_len(*size).and_then(|()| file.sync_all()).map_err(file_failed("cut a segment"))?;
            }
        }
        segments.reload(db)?;
        Ok((segments, short))
    }

    /// Takes over what the database says, after a change was undone. Other changes of the same transaction may have written records that
    /// are not synced yet.
    pub(super) fn reload(&mut self, db: &Connection) -> Result<(), JobStoreError> {
        let valid = sizes(db)?;
        self.unneeded.retain(|number| !valid.contains_key(number));
        // A segment whose start was undone.
        if let Some(active) = self.active.take().filter(|active| !valid.contains_key(&active.number)) {
            self.unneeded.push(active.number);
        }
        let last = valid.into_iter().next_back();
        if let Some((number, size)) = last.filter(|(number, size)| *size < MAX_SIZE && !self.damaged.contains(number)) {
            let file = self.open_to_write(number, false)?;
            file.set_len(size).map_err(file_failed("cut a segment"))?;
            self.active = Some(Active { number, file, size, is_dirty: true });
        }
        Ok(())
    }

    /// Appends a record. Returns its segment and its place there.
    pub(super) fn append(
        &mut self,
        db: &Connection,
        name: RecordName,
        bytes: &[u8],
    ) -> Result<(i64, u64), JobStoreError> {
        if self.active.as_ref().is_none_or(|active| active.size >= MAX_SIZE) {
            self.start_next(db)?;
        }
        let active = self.active.as_mut().expect("a segment was started");
        let record = name.record(bytes);
        active.file.write_all_at(&record, active.size).map_err(file_failed("write output"))?;
        let offset = active.size;
        active.size += record.len() as u64;
        active.is_dirty = true;
        let live = stored(bytes.len() as u64);
        let sql = "UPDATE segments SET size = ?2, live = live + ?3 WHERE number = ?1";
        execute(db, sql, params![active.number, stored(active.size), live])?;
        Ok((active.number, offset))
    }

    fn start_next(&mut self, db: &Connection) -> Result<(), JobStoreError> {
        self.sync()?;
        self.last += 1;
        let number = self.last;
        let file = self.open_to_write(number, true)?;
        if self.synchronous == Synchronous::Full {
            let synced = file.sync_all().and_then(|()| self.dir.open(".")?.sync_all());
            synced.map_err(file_failed("start a segment"))?;
        }
        execute(db, "INSERT INTO segments (number, size, live) VALUES (?1, 0, 0)", [number])?;
        self.active = Some(Active { number, file, size: 0, is_dirty: false });
        Ok(())
    }

    fn open_to_write(&self, number: i64, create: bool) -> Result<std::fs::File, JobStoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create(create).truncate(create).mode(0o600);
        self.dir.open_with(file_name(number), &options).map(File::into_std).map_err(file_failed("open a segment"))
    }

    /// Notes that `bytes` of output in `segment` are not needed any more.
    pub(super) fn release(&mut self, db: &Connection, segment: i64, bytes: u64) -> Result<(), JobStoreError> {
        execute(db, "UPDATE segments SET live = live - ?2 WHERE number = ?1", params![segment, stored(bytes)])?;
        let is_active = self.active.as_ref().is_some_and(|active| active.number == segment);
        let sql = "DELETE FROM segments WHERE number = ?1 AND live <= 0";
        if !is_active && execute(db, sql, [segment])? > 0 {
            self.unneeded.push(segment);
        }
        Ok(())
    }

    /// Lets the next record start a new segment, so that all present ones can be emptied.
    pub(super) fn close_active(&mut self, db: &Connection) -> Result<(), JobStoreError> {
        self.sync()?;
        match self.active.take() {
            Some(active) => self.release(db, active.number, 0),
            None => Ok(()),
        }
    }

    /// Makes the records durable. The commit that names them follows.
    pub(super) fn sync(&mut self) -> Result<(), JobStoreError> {
        if let Some(active) = self.active.as_mut().filter(|active| active.is_dirty) {
            if self.synchronous == Synchronous::Full {
                active.file.sync_data().map_err(file_failed("sync output"))?;
            }
            active.is_dirty = false;
        }
        Ok(())
    }

    /// Removes the segments that the last commit does not name any more. While somebody reads segments, leaves that to a later call.
    pub(super) fn remove_unneeded(&mut self) {
        if self.unneeded.is_empty() {
            return;
        }
        match SegmentLock::try_exclusive(&self.dir) {
            Ok(None) => {}
            Ok(Some(_lock)) => {
                for number in std::mem::take(&mut self.unneeded) {
                    self.remove_file(number);
                }
            }
            Err(error) => {
                tracing::warn!("segments of output that are not needed any more stay until the next start: {error}");
                self.unneeded.clear();
            }
        }
    }

    /// Removes the file of a segment. If that fails, the next start removes it.
    fn remove_file(&self, number: i64) {
        if let Err(error) = self.dir.remove_file(file_name(number)) {
            tracing::warn!(segment = number, "cannot remove a segment of output that is not needed any more: {error}");
        }
    }
}

impl RecordName {
    pub(super) fn fields(self) -> [u8; 20] {
        let mut fields = [0; 20];
        fields[..8].copy_from_slice(&self.job.to_le_bytes());
        fields[8..12].copy_from_slice(&self.attempt.to_le_bytes());
        fields[12..].copy_from_slice(&self.position.to_le_bytes());
        fields
    }

    fn record(self, bytes: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(HEADER + bytes.len());
        record.extend_from_slice(&u32::try_from(bytes.len()).expect("output is split into chunks").to_le_bytes());
        record.extend_from_slice(&sealed::checksum(&[&self.fields()], bytes).to_le_bytes());
        record.extend_from_slice(&self.fields());
        record.extend_from_slice(bytes);
        record
    }
}

/// Reads the output of the record `name` of `length` bytes at `offset` of `segment`.
///
/// # Errors
/// [`JobStoreError::Damaged`] names the file and the place.
pub(super) fn read_record(
    dir: &Dir,
    segment: i64,
    offset: u64,
    name: RecordName,
    length: u64,
) -> Result<Vec<u8>, JobStoreError> {
    let what = || format!("output/{} at byte {offset}", file_name(segment));
    let file = match dir.open(file_name(segment)) {
        Ok(file) => file.into_std(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JobStoreError::damaged(what(), error)),
        Err(error) => return Err(file_failed("read output")(error)),
    };
    let size = usize::try_from(length).map_err(|_| JobStoreError::damaged(what(), "its length is too large"))?;
    let mut record = vec![0; HEADER + size];
    match file.read_exact_at(&mut record, offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(JobStoreError::damaged(what(), "the file is too short"));
        }
        Err(error) => return Err(file_failed("read output")(error)),
    }
    let bytes = record.split_off(HEADER);
    if record != name.record(&bytes)[..HEADER] {
        return Err(JobStoreError::damaged(what(), "its checksum is wrong"));
    }
    Ok(bytes)
}

/// Returns the valid size of each segment.
pub(super) fn sizes(db: &Connection) -> Result<BTreeMap<i64, u64>, JobStoreError> {
    let rows = all(db, "SELECT number, size FROM segments", [], |row| Ok((get(row, 0)?, length(get(row, 1)?)?)))?;
    Ok(rows.into_iter().collect())
}
