//! [`Programs`]: wasm programs by digest, and the records that give them names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::manifest::Manifest;
use capstan_engine::handler::HandlerInfo;
use capstan_engine::handler_store::StoreError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::atomic_dir::{AtomicDir, Durability};

/// The programs and records in a data directory. Clones are the same. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Programs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    programs: AtomicDir,
    records: AtomicDir,
    /// The digests of the programs in use. Locked while records change, so that no program is removed that a record is about to use.
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Digests {
    by_name: BTreeMap<String, String>,
    /// Whether a record could not be read. It may use any program, so no program is removed then.
    has_unreadable_record: bool,
}

/// What is stored of a handler besides its program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandlerRecord {
    #[serde(rename = "about")]
    pub info: HandlerInfo,
    pub manifest: Manifest,
    pub created: Timestamp,
}

/// The name of a handler, and its record if that could be read.
pub type NamedRecord = (String, Result<HandlerRecord, StoreError>);

impl Programs {
    /// Opens the programs of `data`.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the directories cannot be created or listed.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let programs = AtomicDir::open(data, "programs", Durability::Synced)?;
        let records = AtomicDir::open(data, "handlers", Durability::Synced)?;
        Ok(Self(Arc::new(Inner { programs, records, digests: Mutex::default() })))
    }

    /// Stores `wasm` with `record` as the handler `name`, and replaces the handler that has the name. Both are on the disk when this
    /// returns.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`]. The old handler stays then.
    pub fn put(&self, name: &str, record: &HandlerRecord, wasm: &[u8]) -> Result<(), StoreError> {
        let mut digests = self.digests();
        let digest = digest_of(record)?;
        // An existing file of that name has the same program, unless it was damaged.
        if self.read_program(digest).is_err() {
            self.0.programs.write(digest, &[wasm])?;
        }
        self.0.records.write(name, &[&record.to_json()])?;
        let old = digests.by_name.insert(name.to_owned(), digest.to_owned());
        self.remove_unused(&digests, old)
    }

    /// Removes the handler `name`, and its program if no other handler uses it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let mut digests = self.digests();
        self.0.records.remove(name)?;
        let old = digests.by_name.remove(name);
        self.remove_unused(&digests, old)
    }

    /// Returns every handler's name and record. A record that cannot be read is an error of its own and does not affect the others.
    ///
    /// Called once, at start. Removes programs that no record uses, which an interrupted push has left.
    ///
    /// # Errors
    /// Returns [`StoreError::Io`] if the directory cannot be listed.
    pub fn load_all(&self) -> Result<Vec<NamedRecord>, StoreError> {
        let mut digests = self.digests();
        let mut records = Vec::new();
        for name in self.0.records.names()? {
            let record = self.read_record(&name);
            match record.as_ref().map(|record| digest_of(record)) {
                Ok(Ok(digest)) => drop(digests.by_name.insert(name.clone(), digest.to_owned())),
                _ => digests.has_unreadable_record = true,
            }
            records.push((name, record));
        }
        for program in self.0.programs.names()? {
            self.remove_unused(&digests, Some(program))?;
        }
        Ok(records)
    }

    /// Returns the program with `digest`.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if the file is missing or its content has another digest.
    pub fn wasm(&self, digest: &str) -> Result<Bytes, StoreError> {
        self.read_program(digest.trim_start_matches("sha256:"))
    }

    fn read_program(&self, hex: &str) -> Result<Bytes, StoreError> {
        let damaged = || StoreError::Damaged(format!("program {hex}"));
        let wasm = self.0.programs.read(hex)?.ok_or_else(damaged)?;
        if hex == hex_digest(&wasm) { Ok(wasm.into()) } else { Err(damaged()) }
    }

    fn read_record(&self, name: &str) -> Result<HandlerRecord, StoreError> {
        let damaged = || StoreError::Damaged(format!("the record of handler {name}"));
        let json = self.0.records.read(name)?.ok_or_else(damaged)?;
        HandlerRecord::from_json(&json).ok_or_else(damaged)
    }

    /// Removes the program with digest `old` if no handler uses it.
    fn remove_unused(&self, digests: &Digests, old: Option<String>) -> Result<(), StoreError> {
        match old {
            Some(old) if !digests.has_unreadable_record && !digests.by_name.values().any(|digest| *digest == old) => {
                self.0.programs.remove(&old)
            }
            _ => Ok(()),
        }
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        self.0.digests.lock().expect("no panic while the lock is held")
    }
}

impl HandlerRecord {
    /// Returns the content of its file.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data")
    }

    /// Returns the record in a file, or `None` if the file is damaged.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

fn digest_of(record: &HandlerRecord) -> Result<&str, StoreError> {
    let digest = record.info.digest.as_deref().and_then(|digest| digest.strip_prefix("sha256:"));
    digest.ok_or_else(|| StoreError::Damaged("a record without a digest".to_owned()))
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use capstan_engine::handler::Kind;

    use super::*;

    fn record(wasm: &[u8]) -> HandlerRecord {
        let digest = Some(format!("sha256:{}", hex_digest(wasm)));
        let size = wasm.len() as u64;
        let info = HandlerInfo { kind: Kind::Module, digest, size, description: None, usage: None };
        HandlerRecord {
            info,
            manifest: Manifest::parse("[policy]\ntimeout = \"2s\"").unwrap(),
            created: Timestamp::now(),
        }
    }

    fn temp_data() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, data)
    }

    fn count(temp: &tempfile::TempDir, dir: &str) -> usize {
        std::fs::read_dir(temp.path().join(dir)).unwrap().count()
    }

    #[test]
    fn put_handler_is_loaded_after_restart() {
        let (_temp, data) = temp_data();
        let a = record(b"one");
        Programs::open(&data).unwrap().put("a", &a, b"one").unwrap();
        let programs = Programs::open(&data).unwrap();
        let (name, loaded) = programs.load_all().unwrap().remove(0);
        assert_eq!((name.as_str(), loaded.unwrap()), ("a", a.clone()));
        assert_eq!(programs.wasm(a.info.digest.as_deref().unwrap()).unwrap(), "one");
    }

    #[test]
    fn remove_last_handler_of_program_removes_program() {
        let (temp, data) = temp_data();
        let programs = Programs::open(&data).unwrap();
        programs.put("a", &record(b"one"), b"one").unwrap();
        programs.put("b", &record(b"one"), b"one").unwrap();
        assert_eq!(count(&temp, "programs"), 1);
        programs.put("a", &record(b"two"), b"two").unwrap();
        assert_eq!(count(&temp, "programs"), 2);
        programs.remove("b").unwrap();
        assert_eq!(count(&temp, "programs"), 1);
        programs.remove("a").unwrap();
        programs.remove("a").unwrap();
        assert_eq!((count(&temp, "programs"), count(&temp, "handlers")), (0, 0));
    }

    #[test]
    fn wasm_of_damaged_program_fails_until_it_is_put_again() {
        let (temp, data) = temp_data();
        let programs = Programs::open(&data).unwrap();
        let (a, b) = (record(b"one"), record(b"two"));
        programs.put("a", &a, b"one").unwrap();
        programs.put("b", &b, b"two").unwrap();
        let path = |record: &HandlerRecord| temp.path().join("programs").join(digest_of(record).unwrap());
        let digest = a.info.digest.clone().unwrap();
        for damage in [&b"on"[..], b"two", b""] {
            std::fs::write(path(&a), damage).unwrap();
            assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
        }
        std::fs::remove_file(path(&a)).unwrap();
        assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
        programs.put("a", &a, b"one").unwrap();
        assert_eq!(programs.wasm(&digest).unwrap(), "one");
    }

    #[test]
    fn load_all_with_unreadable_record_keeps_other_records_and_programs() {
        let (temp, data) = temp_data();
        let programs = Programs::open(&data).unwrap();
        programs.put("a", &record(b"one"), b"one").unwrap();
        programs.put("b", &record(b"two"), b"two").unwrap();
        std::fs::write(temp.path().join("handlers/a"), "{").unwrap();
        let programs = Programs::open(&data).unwrap();
        let records = programs.load_all().unwrap();
        assert_eq!(records.iter().filter(|(_, record)| record.is_ok()).count(), 1);
        assert_eq!(count(&temp, "programs"), 2);
    }

    #[test]
    fn load_all_removes_files_of_interrupted_put() {
        let (temp, data) = temp_data();
        Programs::open(&data).unwrap().put("a", &record(b"one"), b"one").unwrap();
        std::fs::write(temp.path().join("programs/.unfinished-1"), "x").unwrap();
        std::fs::write(temp.path().join("programs").join(hex_digest(b"orphan")), "orphan").unwrap();
        let programs = Programs::open(&data).unwrap();
        programs.load_all().unwrap();
        assert_eq!(count(&temp, "programs"), 1);
    }
}
