//! [`HandlerIndex`]: a copy of all records of handlers in one file, so that a start reads one file instead of thousands.
//!
//! The records are the truth: the names come from their directory, and a copy counts only while its record is the file that was copied, by
//! inode, size, and times of modification and change. Whatever happens to the index, or to a record behind its back, costs a start only the
//! time to read the records again. So a push need not wait until its copy is on the disk, and a crash between the two loses nothing and
//! brings nothing back.
//!
//! Each line is one copy: the CRC-32 of the rest in hexadecimal, a space, and JSON. A push adds a line. The last line of a name counts. A line
//! without its CRC is ignored.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_engine::handler_store::StoreError;
use serde::{Deserialize, Serialize};

use super::atomic_dir::{AtomicDir, Durability};
use super::file_stamp::FileStamp;
use super::handler_record::HandlerRecord;

/// The name of the file.
const FILE: &str = "handlers";
/// Bytes by which the file may grow beyond twice its size at the start, before outdated lines are removed.
const MAX_GROWTH: u64 = 1 << 20;

/// The file with the copies of all records. Calls block on the disk.
#[derive(Debug)]
pub(super) struct HandlerIndex {
    dir: AtomicDir,
    /// The size at which outdated lines are removed.
    max_size: AtomicU64,
}

/// A copy of a record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordCopy {
    name: String,
    file: FileStamp,
    // Records are large, and are moved often until each is where it stays.
    record: Box<HandlerRecord>,
}

/// The copies in an index.
#[derive(Debug, Default)]
pub(super) struct RecordCopies(HashMap<String, RecordCopy>);

impl RecordCopy {
    pub(super) fn new(name: &str, file: FileStamp, record: &HandlerRecord) -> Self {
        Self { name: name.to_owned(), file, record: Box::new(record.clone()) }
    }

    fn to_line(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("plain data");
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
    }

    /// Returns the copy in a line, or `None` if the line is damaged.
    fn from_line(line: &[u8]) -> Option<Self> {
        let (crc, json) = line.split_at_checked(8)?;
        let json = json.strip_prefix(b" ")?;
        let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
        if crc32fast::hash(json) == crc { serde_json::from_slice(json).ok() } else { None }
    }
}

impl RecordCopies {
    /// Removes and returns the record `name`, if the copy is of the file with `stamp`.
    pub(super) fn take(&mut self, name: &str, stamp: FileStamp) -> Option<Box<HandlerRecord>> {
        self.0.remove(name).filter(|copy| copy.file == stamp).map(|copy| copy.record)
    }
}

impl HandlerIndex {
    /// Opens the index below `data`.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(super) fn open(data: &Dir) -> Result<Self, StoreError> {
        let dir = AtomicDir::open(data, "index", Durability::Unsynced)?;
        dir.remove_abandoned()?;
        Ok(Self { dir, max_size: AtomicU64::new(MAX_GROWTH) })
    }

    /// Returns the copies. There are none if the file cannot be read.
    pub(super) fn read(&self) -> RecordCopies {
        let bytes = self.dir.read(FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "the index of handlers is not used");
            None
        });
        let bytes = bytes.unwrap_or_default();
        let copies = bytes.split(|byte| *byte == b'\n').filter_map(RecordCopy::from_line);
        self.set_max_size(bytes.len() as u64);
        RecordCopies(copies.map(|copy| (copy.name.clone(), copy)).collect())
    }

    /// Adds a copy. If that fails, the next start reads the record.
    pub(super) fn add(&self, copy: &RecordCopy) {
        let options = OpenOptions::new().append(true).create(true).mode(0o600).to_owned();
        let added = self.dir.dir().open_with(FILE, &options).and_then(|mut file| {
            file.write_all(&copy.to_line())?;
            file.metadata()
        });
        match added {
            Ok(metadata) if metadata.len() > self.max_size.load(Ordering::Relaxed) => {
                let RecordCopies(copies) = self.read();
                self.write(&copies.into_values().collect::<Vec<_>>());
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot add to the index of handlers"),
        }
    }

    /// Replaces the index with these copies. If that fails, the next start reads the records.
    pub(super) fn write(&self, copies: &[RecordCopy]) {
        let lines = copies.iter().map(RecordCopy::to_line).collect::<Vec<_>>().concat();
        self.set_max_size(lines.len() as u64);
        if let Err(error) = self.dir.write(FILE, &[&lines]) {
            tracing::debug!(%error, "cannot write the index of handlers");
        }
    }

    fn set_max_size(&self, size: u64) {
        self.max_size.store(2 * size + MAX_GROWTH, Ordering::Relaxed);
    }
}
