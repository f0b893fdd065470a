//! Programs by content, and the records that give them names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::manifest::Manifest;
use capstan_engine::handler::HandlerInfo;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;
use capstan_engine::handler_store::StoreError;

/// The programs and records of a data folder. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Programs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    programs: Folder,
    records: Folder,
    /// Which program each name has. Held while names change, so that no program is removed that a record is about to name.
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Digests {
    of: BTreeMap<String, String>,
    /// Whether a record could not be read: it may name any program, and then none is removed.
    uncertain: bool,
}

/// What is kept of a handler beside its program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub about: HandlerInfo,
    pub manifest: Manifest,
    pub created: Timestamp,
}

/// A name, and the record that was found for it.
pub type Found = (String, Result<Record, StoreError>);

impl Programs {
    /// Opens the programs of `data`.
    ///
    /// # Errors
    /// [`StoreError`] where the folders cannot be made or listed.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let programs = Folder::open(data, "programs")?;
        let records = Folder::open(data, "handlers")?;
        Ok(Self(Arc::new(Inner { programs, records, digests: Mutex::default() })))
    }

    /// Keeps `wasm` under `name` with `record`, in the place of what has the name. On return it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`]; the old handler is then kept.
    pub fn keep(&self, name: &str, record: &Record, wasm: &[u8]) -> Result<(), StoreError> {
        let mut digests = self.digests();
        let digest = digest_of(record)?;
        // A file of that name is that program, unless it was damaged since.
        if self.wasm_of(digest).is_err() {
            self.0.programs.write(digest, &[wasm])?;
        }
        self.0.records.write(name, &[&record.written()])?;
        let old = digests.of.insert(name.to_owned(), digest.to_owned());
        self.clear(&digests, old)
    }

    /// Forgets `name`, and its program if nothing else has it.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        let mut digests = self.digests();
        self.0.records.remove(name)?;
        let old = digests.of.remove(name);
        self.clear(&digests, old)
    }

    /// Every name and its record, read once at start; a record that cannot be read is an error of its own and costs no other.
    /// Programs that no record names are removed: a push was cut off between the two.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the folder cannot be listed.
    pub fn restore(&self) -> Result<Vec<Found>, StoreError> {
        let mut digests = self.digests();
        let mut found = Vec::new();
        for name in self.0.records.names()? {
            let record = self.record(&name);
            match record.as_ref().map(|record| digest_of(record)) {
                Ok(Ok(digest)) => drop(digests.of.insert(name.clone(), digest.to_owned())),
                _ => digests.uncertain = true,
            }
            found.push((name, record));
        }
        for program in self.0.programs.names()? {
            self.clear(&digests, Some(program))?;
        }
        Ok(found)
    }

    /// The program with `digest`, checked against it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it is missing, cut short, or another's.
    pub fn wasm(&self, digest: &str) -> Result<Bytes, StoreError> {
        self.wasm_of(digest.trim_start_matches("sha256:"))
    }

    fn wasm_of(&self, hex: &str) -> Result<Bytes, StoreError> {
        let damaged = || StoreError::Damaged(format!("program {hex}"));
        let wasm = self.0.programs.read(hex)?.ok_or_else(damaged)?;
        if hex == hex_of(&wasm) { Ok(wasm.into()) } else { Err(damaged()) }
    }

    fn record(&self, name: &str) -> Result<Record, StoreError> {
        let damaged = || StoreError::Damaged(format!("the record of handler {name}"));
        let text = self.0.records.read(name)?.ok_or_else(damaged)?;
        Record::read(&text).ok_or_else(damaged)
    }

    /// Removes the program `old` if no name has it.
    fn clear(&self, digests: &Digests, old: Option<String>) -> Result<(), StoreError> {
        match old {
            Some(old) if !digests.uncertain && !digests.of.values().any(|digest| *digest == old) => {
                self.0.programs.remove(&old)
            }
            _ => Ok(()),
        }
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        self.0.digests.lock().expect("no panic while the lock is held")
    }
}

impl Record {
    /// As it is kept.
    pub(super) fn written(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data")
    }

    /// One that was kept; `None` where that was damaged since.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

fn digest_of(record: &Record) -> Result<&str, StoreError> {
    let digest = record.about.digest.as_deref().and_then(|digest| digest.strip_prefix("sha256:"));
    digest.ok_or_else(|| StoreError::Damaged("a record without a digest".to_owned()))
}

fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use capstan_engine::handler::Kind;

    use super::*;

    fn record(wasm: &[u8]) -> Record {
        let digest = Some(format!("sha256:{}", hex_of(wasm)));
        let size = wasm.len() as u64;
        let about = HandlerInfo { kind: Kind::Module, digest, size, description: None, usage: None };
        Record { about, manifest: Manifest::parse("[policy]\ntimeout = \"2s\"").unwrap(), created: Timestamp::now() }
    }

    fn data() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, data)
    }

    fn count(temp: &tempfile::TempDir, folder: &str) -> usize {
        std::fs::read_dir(temp.path().join(folder)).unwrap().count()
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let (_temp, data) = data();
        let a = record(b"one");
        Programs::open(&data).unwrap().keep("a", &a, b"one").unwrap();
        let programs = Programs::open(&data).unwrap();
        let (name, found) = programs.restore().unwrap().remove(0);
        assert_eq!((name.as_str(), found.unwrap()), ("a", a.clone()));
        assert_eq!(programs.wasm(a.about.digest.as_deref().unwrap()).unwrap(), "one");
    }

    #[test]
    fn a_program_lives_as_long_as_a_name_has_it() {
        let (temp, data) = data();
        let programs = Programs::open(&data).unwrap();
        programs.keep("a", &record(b"one"), b"one").unwrap();
        programs.keep("b", &record(b"one"), b"one").unwrap();
        assert_eq!(count(&temp, "programs"), 1);
        programs.keep("a", &record(b"two"), b"two").unwrap();
        assert_eq!(count(&temp, "programs"), 2);
        programs.forget("b").unwrap();
        assert_eq!(count(&temp, "programs"), 1);
        programs.forget("a").unwrap();
        programs.forget("a").unwrap();
        assert_eq!((count(&temp, "programs"), count(&temp, "handlers")), (0, 0));
    }

    #[test]
    fn damage_is_found_when_it_is_read_and_a_push_mends_it() {
        let (temp, data) = data();
        let programs = Programs::open(&data).unwrap();
        let (a, b) = (record(b"one"), record(b"two"));
        programs.keep("a", &a, b"one").unwrap();
        programs.keep("b", &b, b"two").unwrap();
        let path = |record: &Record| temp.path().join("programs").join(digest_of(record).unwrap());
        let digest = a.about.digest.clone().unwrap();
        for damage in [&b"on"[..], b"two", b""] {
            std::fs::write(path(&a), damage).unwrap();
            assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
        }
        std::fs::remove_file(path(&a)).unwrap();
        assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
        programs.keep("a", &a, b"one").unwrap();
        assert_eq!(programs.wasm(&digest).unwrap(), "one");
    }

    #[test]
    fn a_record_that_cannot_be_read_costs_no_other_and_no_program() {
        let (temp, data) = data();
        let programs = Programs::open(&data).unwrap();
        programs.keep("a", &record(b"one"), b"one").unwrap();
        programs.keep("b", &record(b"two"), b"two").unwrap();
        std::fs::write(temp.path().join("handlers/a"), "{").unwrap();
        let programs = Programs::open(&data).unwrap();
        let found = programs.restore().unwrap();
        assert_eq!(found.iter().filter(|(_, record)| record.is_ok()).count(), 1);
        assert_eq!(count(&temp, "programs"), 2);
    }

    #[test]
    fn what_a_cut_off_push_left_is_cleared_at_start() {
        let (temp, data) = data();
        Programs::open(&data).unwrap().keep("a", &record(b"one"), b"one").unwrap();
        std::fs::write(temp.path().join("programs/.unfinished-1"), "x").unwrap();
        std::fs::write(temp.path().join("programs").join(hex_of(b"orphan")), "orphan").unwrap();
        let programs = Programs::open(&data).unwrap();
        programs.restore().unwrap();
        assert_eq!(count(&temp, "programs"), 1);
    }
}
