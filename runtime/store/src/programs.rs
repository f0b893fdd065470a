//! [`Programs`]: wasm programs by digest, and the records that give them names.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_engine::handler_store::StoreError;
use rustix::fs::AtFlags;

use super::atomic_dir::{AtomicDir, Durability};
use super::digest::{hex_digest, hex_of};
use super::file_stamp::FileStamp;
use super::handler_index::{HandlerIndex, RecordCopies, RecordCopy};
use super::handler_record::HandlerRecord;

/// The programs and records in a data directory. Clones are the same. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Programs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    programs: AtomicDir,
    records: AtomicDir,
    index: HandlerIndex,
    /// The digests of the programs in use. Locked while records change, so that no program is removed that a record is about to use.
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Digests {
    by_name: HashMap<String, String>,
    /// How many names have a program.
    uses: HashMap<String, usize>,
    /// Whether a record could not be read. It may use any program, so no program is removed then.
    has_unreadable_record: bool,
    /// The digests of the files of handlers, by the names of these.
    files: HashMap<String, String>,
}

/// The name of a handler, and its record if that could be read.
pub type NamedRecord = (String, Result<Box<HandlerRecord>, StoreError>);

impl Programs {
    /// Opens the programs of `data`.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the directories cannot be created or listed.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let programs = AtomicDir::open(data, "programs", Durability::Synced)?;
        let records = AtomicDir::open(data, "handlers", Durability::Synced)?;
        let index = HandlerIndex::open(data)?;
        Ok(Self(Arc::new(Inner { programs, records, index, digests: Mutex::default() })))
    }

    /// Stores `wasm` with `record` as the handler `name`, and replaces the handler that has the name. Both are on the disk when this
    /// returns. Without `wasm`, the handler shares a program that is stored already.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`], and [`StoreError::Damaged`] if a program to be shared is not there. The old handler stays
    /// then.
    pub fn put(&self, name: &str, record: &HandlerRecord, wasm: Option<&[u8]>) -> Result<(), StoreError> {
        let mut digests = self.digests();
        let digest = digest_of(record)?;
        match wasm {
            None => self.check_size(digest, record.info.size)?,
            // An existing file of that name has the same program, unless it was damaged.
            Some(wasm) if self.read_program(digest).is_err() => self.0.programs.write(digest, &[wasm])?,
            Some(_) => {}
        }
        self.0.records.write(name, &[&record.to_json()])?;
        if let Some(stamp) = self.record_stamp(name) {
            self.0.index.add(&RecordCopy::new(name, stamp, record));
        }
        let old = digests.insert(name, digest);
        digests.set_files(name, record);
        self.remove_unused(&digests, old)
    }

    /// Removes the handler `name`, and its program if no other handler uses it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let mut digests = self.digests();
        self.0.records.remove(name)?;
        let old = digests.remove(name);
        digests.files.remove(name);
        self.remove_unused(&digests, old)
    }

    /// Returns every handler's name and record. A record that cannot be read is an error of its own and does not affect the others.
    ///
    /// Called once, at start.
    ///
    /// # Errors
    /// Returns [`StoreError::Io`] if the directory cannot be listed.
    pub fn load_all(&self) -> Result<Vec<NamedRecord>, StoreError> {
        let mut digests = self.digests();
        let mut copies = self.0.index.read();
        let (mut records, mut is_index_complete) = (Vec::new(), true);
        for name in self.0.records.names()? {
            let record = match self.take_copy(&mut copies, &name) {
                Some(record) => Ok(record),
                None => {
                    is_index_complete = false;
                    self.read_record(&name)
                }
            };
            match record.as_deref().map(digest_of) {
                Ok(Ok(digest)) => drop(digests.insert(&name, digest)),
                _ => digests.has_unreadable_record = true,
            }
            if let Ok(record) = &record {
                digests.set_files(&name, record);
            }
            records.push((name, record));
        }
        if !is_index_complete {
            self.write_index(&records);
        }
        Ok(records)
    }

    /// Removes what interrupted pushes have left: unfinished files, and programs that no record uses. Call it after [`Programs::load_all`]. Handlers
    /// may change meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_leftovers(&self) -> Result<(), StoreError> {
        self.0.records.remove_abandoned()?;
        self.0.programs.remove_abandoned()?;
        for program in self.0.programs.names()? {
            // Locked for one program at a time, so that a push need not wait for all of them.
            self.remove_unused(&self.digests(), Some(program))?;
        }
        Ok(())
    }

    /// Returns whether a handler may have the program with the digest `hex`.
    pub fn is_used(&self, hex: &str) -> bool {
        let digests = self.digests();
        digests.has_unreadable_record || digests.uses.contains_key(hex)
    }

    /// Returns whether a handler may have the files with the digest `hex`.
    pub fn uses_files(&self, hex: &str) -> bool {
        let digests = self.digests();
        digests.has_unreadable_record || digests.files.values().any(|digest| hex_of(digest) == hex)
    }

    /// Returns the record `name` from the index, if the index has a copy of the file that is there now.
    fn take_copy(&self, copies: &mut RecordCopies, name: &str) -> Option<Box<HandlerRecord>> {
        copies.take(name, self.record_stamp(name)?)
    }

    fn record_stamp(&self, name: &str) -> Option<FileStamp> {
        // A name from a list of the directory has no slash, so nothing outside of it can be reached.
        let stat = rustix::fs::statat(self.0.records.dir(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        FileStamp::from_stat(&stat)
    }

    /// Replaces the index with copies of `records`, which were just read. Nothing else changes them meanwhile.
    fn write_index(&self, records: &[NamedRecord]) {
        let copies = records
            .iter()
            .filter_map(|(name, record)| Some(RecordCopy::new(name, self.record_stamp(name)?, record.as_ref().ok()?)));
        self.0.index.write(&copies.collect::<Vec<_>>());
    }

    /// Returns an error if the program with `digest` is missing or does not have `size` bytes. Does not read it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]
    pub fn check_size(&self, digest: &str, size: u64) -> Result<(), StoreError> {
        let hex = hex_of(digest);
        match self.0.programs.dir().symlink_metadata(hex) {
            Ok(metadata) if metadata.is_file() && metadata.len() == size => Ok(()),
            _ => Err(damaged_program(hex)),
        }
    }

    /// Returns the program with `digest`.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if the file is missing or its content has another digest.
    pub fn wasm(&self, digest: &str) -> Result<Bytes, StoreError> {
        self.read_program(hex_of(digest))
    }

    fn read_program(&self, hex: &str) -> Result<Bytes, StoreError> {
        let wasm = self.0.programs.read(hex)?.ok_or_else(|| damaged_program(hex))?;
        if hex == hex_digest(&wasm) { Ok(wasm.into()) } else { Err(damaged_program(hex)) }
    }

    fn read_record(&self, name: &str) -> Result<Box<HandlerRecord>, StoreError> {
        let damaged = || StoreError::Damaged(format!("the record of handler {name}"));
        let json = self.0.records.read(name)?.ok_or_else(damaged)?;
        HandlerRecord::from_json(&json).map(Box::new).ok_or_else(damaged)
    }

    /// Removes the program with digest `old` if no handler uses it.
    fn remove_unused(&self, digests: &Digests, old: Option<String>) -> Result<(), StoreError> {
        match old {
            Some(old) if !digests.has_unreadable_record && !digests.uses.contains_key(&old) => {
                self.0.programs.remove(&old)
            }
            _ => Ok(()),
        }
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        self.0.digests.lock().expect("no panic while the lock is held")
    }
}

impl Digests {
    /// Gives `name` the program with `digest`. Returns the digest of the program that it had.
    fn insert(&mut self, name: &str, digest: &str) -> Option<String> {
        *self.uses.entry(digest.to_owned()).or_default() += 1;
        let old = self.by_name.insert(name.to_owned(), digest.to_owned());
        old.inspect(|old| self.end_use(old))
    }

    /// Removes `name`. Returns the digest of the program that it had.
    fn remove(&mut self, name: &str) -> Option<String> {
        let old = self.by_name.remove(name);
        old.inspect(|old| self.end_use(old))
    }

    /// Remembers the files that `name` has.
    fn set_files(&mut self, name: &str, record: &HandlerRecord) {
        match &record.info.files {
            Some(files) => self.files.insert(name.to_owned(), files.digest.clone()),
            None => self.files.remove(name),
        };
    }

    fn end_use(&mut self, digest: &str) {
        if let Some(uses) = self.uses.get_mut(digest) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(digest);
            }
        }
    }
}

fn damaged_program(hex: &str) -> StoreError {
    StoreError::Damaged(format!("program {hex}"))
}

fn digest_of(record: &HandlerRecord) -> Result<&str, StoreError> {
    let digest = record.info.digest.as_deref().and_then(|digest| digest.strip_prefix("sha256:"));
    digest.ok_or_else(|| StoreError::Damaged("a record without a digest".to_owned()))
}
