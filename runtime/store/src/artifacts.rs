//! [`Artifacts`]: compiled code, sealed with the key of the data directory.
//!
//! Compiled code is native code that runs unchecked, so a file of it must prove that this daemon wrote it: see [`Seal`](super::seal). A file
//! without a valid seal is removed, and its program is compiled again.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use cap_std::fs::Dir;

use capstan_engine::handler_store::StoreError;

use super::atomic_dir::{AtomicDir, Durability};
use super::code_cache::{CachedCode, CodeCache};
use super::digest::hex_of;
use super::lock_file::LockFile;
use super::program_files::{FileIdentity, ProgramFiles, ProgramSummary};
use super::seal::{KEY_SIZE, Key, Seal};

/// The compiled code in a data directory, or in the cache of a user. Clones are the same. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Artifacts {
    dir: AtomicDir,
    seal: Seal,
    /// What a cache has in addition.
    cache: Option<CodeCache>,
    /// The programs, by digest in hexadecimal, whose code was stored since this directory was opened. `None` once nobody will ask.
    stored: Arc<Mutex<Option<HashSet<String>>>>,
}

/// Returns the key of the cursors in lists of the jobs of `data`. Creates the key of the directory if there is none.
///
/// # Errors
/// Returns [`StoreError`] if the key cannot be created or read.
pub fn cursor_key(data: &Dir) -> Result<[u8; 32], StoreError> {
    let key = Artifacts::key(data, Durability::Synced)?;
    Ok(blake3::derive_key("capstan 2026-11 cursors in lists of jobs", &key.0))
}

impl Artifacts {
    /// Opens the artifacts of `data`. Creates the key if there is none.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the directory or the key cannot be created or read.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let key = Self::key(data, Durability::Synced)?;
        Ok(Self {
            dir: AtomicDir::open(data, "artifacts", Durability::Synced)?,
            seal: Seal::of_code(&key),
            cache: None,
            stored: Arc::new(Mutex::new(Some(HashSet::new()))),
        })
    }

    /// Opens the artifacts of `data` as a cache of at most `max_bytes`, which several processes may use. Code that was used least recently makes
    /// way for new code.
    ///
    /// # Errors
    /// As [`Artifacts::open`].
    pub fn open_cache(data: &Dir, max_bytes: u64) -> Result<Self, StoreError> {
        let key = Self::key(data, Durability::Unsynced)?;
        let cache = CodeCache { max_bytes, files: ProgramFiles::open(data, &key)? };
        let dir = AtomicDir::open(data, "artifacts", Durability::Unsynced)?;
        dir.remove_abandoned()?;
        Ok(Self { dir, seal: Seal::of_code(&key), cache: Some(cache), stored: Arc::default() })
    }

    /// Returns the key of `data`. Creates it if there is none.
    fn key(data: &Dir, durability: Durability) -> Result<Key, StoreError> {
        let keys = AtomicDir::open(data, "keys", durability)?;
        keys.remove_abandoned()?;
        if let Some(key) = keys.read("artifacts")?.and_then(|key| <[u8; KEY_SIZE]>::try_from(key).ok()) {
            return Ok(Key(key));
        }
        let mut key = [0; KEY_SIZE];
        getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
        keys.write("artifacts", &[&key])?;
        Ok(Key(key))
    }

    /// Writes the code compiled from the program with `digest` for `fingerprint` to the empty file `target`, and returns whether it is stored
    /// with a valid seal. If it is not, what was written must not be used. Exactly the bytes that are written are verified.
    pub fn copy_to(&self, digest: &str, fingerprint: &str, target: &File) -> bool {
        let name = file_name(digest, fingerprint);
        let Ok(Some(file)) = self.dir.open_file(&name) else { return false };
        let file = file.into_std();
        let is_valid = self.seal.copy_verified(&[digest, fingerprint], &file, target).is_some();
        if !is_valid {
            tracing::warn!(
                name,
                "compiled code has no valid seal; it is removed, and the program will be compiled again"
            );
            let _ = self.dir.remove(&name);
        } else if self.is_cache() {
            CodeCache::record_use(&file);
        }
        is_valid
    }

    /// Returns the fingerprints for which code of the program with `digest` is stored. The seals are not checked.
    pub fn fingerprints(&self, digest: &str) -> Vec<String> {
        let names = self.dir.names().unwrap_or_default();
        let code = names.iter().filter_map(|name| name.strip_prefix(hex_of(digest))?.strip_prefix('.'));
        code.map(str::to_owned).collect()
    }

    /// Returns whether this is a cache, which several processes may use.
    pub fn is_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// Tries to lock the code of a program, so that of several processes with one cache only one compiles it. Returns `Ok(None)` if another
    /// process has the lock.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn try_lock(&self, digest: &str, fingerprint: &str) -> io::Result<Option<LockFile>> {
        CodeCache::try_lock(self.dir.dir(), &file_name(digest, fingerprint))
    }

    /// Returns the code in the cache, what was used last first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn entries(&self) -> Result<Vec<CachedCode>, StoreError> {
        CodeCache::entries(&self.dir)
    }

    /// Removes all code. Returns what was removed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn clear(&self) -> Result<Vec<CachedCode>, StoreError> {
        let entries = self.entries()?;
        entries.iter().try_for_each(|entry| self.dir.remove(&entry.file_name()))?;
        self.cache.iter().try_for_each(|cache| cache.files.clear())?;
        Ok(entries)
    }

    /// Returns the program that was in the file with `identity`, if a cache knows it.
    pub fn program_in(&self, identity: &FileIdentity) -> Option<ProgramSummary> {
        self.cache.as_ref()?.files.get(identity)
    }

    /// Records in a cache that the file with `identity` has the program `summary`. If that fails, the file is read again the next time.
    pub fn record_program_in(&self, identity: &FileIdentity, summary: &ProgramSummary) {
        if let Some(cache) = &self.cache {
            cache.files.put(identity, summary);
        }
    }

    /// Stores `code`.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn put(&self, digest: &str, fingerprint: &str, code: &[u8]) -> Result<(), StoreError> {
        if let Some(cache) = &self.cache
            && !cache.make_room(&self.dir, code.len() as u64)?
        {
            return Ok(());
        }
        if let Some(stored) = &mut *self.stored() {
            stored.insert(hex_of(digest).to_owned());
        }
        let seal = self.seal.of(&[digest, fingerprint], code);
        self.dir.write(&file_name(digest, fingerprint), &[code, &seal])
    }

    /// Removes code that was compiled for another fingerprint of the same profile, because nothing will request it again. The profile is
    /// the part of a fingerprint after the first `+`. A cache keeps it: another version of Capstan may use the same cache.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn retain(&self, fingerprint: &str) -> Result<(), StoreError> {
        if self.is_cache() {
            return Ok(());
        }
        let profile = profile_of(fingerprint);
        for name in self.dir.names()? {
            let own = name.split_once('.').map_or("", |(_, fingerprint)| fingerprint);
            if own != fingerprint && profile_of(own) == profile {
                self.dir.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes unfinished files, and code of programs for whose digest, in hexadecimal, `is_used` returns `false`. Keeps code that was stored since
    /// this directory was opened: the program of a push is stored after its code. Call it once.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn retain_programs(&self, is_used: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        self.dir.remove_abandoned()?;
        for name in self.dir.names()? {
            let hex = name.split_once('.').map_or("", |(hex, _)| hex);
            if !is_used(hex) && !self.stored().as_ref().is_some_and(|stored| stored.contains(hex)) {
                self.dir.remove(&name)?;
            }
        }
        *self.stored() = None;
        Ok(())
    }

    fn stored(&self) -> MutexGuard<'_, Option<HashSet<String>>> {
        self.stored.lock().expect("no panic while the lock is held")
    }
}

/// Returns the part of a fingerprint that names the profile.
fn profile_of(fingerprint: &str) -> Option<&str> {
    fingerprint.split_once('+').map(|(_, profile)| profile)
}

fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{}.{fingerprint}", hex_of(digest))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;
    use crate::seal::SEAL_SIZE;

    fn artifacts() -> (tempfile::TempDir, Artifacts) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, Artifacts::open(&data).unwrap())
    }

    /// Returns the stored code, if its proof is valid.
    fn get(artifacts: &Artifacts, digest: &str, fingerprint: &str) -> Option<Vec<u8>> {
        let mut target = tempfile::tempfile().unwrap();
        artifacts.copy_to(digest, fingerprint, &target).then(|| {
            let mut code = Vec::new();
            target.rewind().unwrap();
            target.read_to_end(&mut code).unwrap();
            code
        })
    }

    #[test]
    fn code_is_returned_only_for_its_own_program_and_fingerprint() {
        let (temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        assert_eq!(get(&artifacts, "sha256:aa", "48-1").as_deref(), Some(&b"code"[..]));
        assert_eq!(artifacts.fingerprints("sha256:aa"), ["48-1"]);
        assert_eq!(artifacts.fingerprints("sha256:a"), [""; 0]);
        assert_eq!(get(&artifacts, "sha256:bb", "48-1"), None);
        assert_eq!(get(&artifacts, "sha256:aa", "48-2"), None);
        artifacts.put("sha256:cc", "48-1", b"code").unwrap();
        artifacts.retain_programs(|hex| hex == "cc").unwrap();
        assert!(get(&artifacts, "sha256:aa", "48-1").is_some(), "its program may be about to be stored");
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        Artifacts::open(&data).unwrap().retain_programs(|hex| hex == "cc").unwrap();
        assert_eq!(get(&artifacts, "sha256:aa", "48-1"), None);
        assert!(get(&artifacts, "sha256:cc", "48-1").is_some());
        artifacts.put("sha256:cc", "48-1+fuel", b"metered").unwrap();
        artifacts.retain("48-2").unwrap();
        assert_eq!(get(&artifacts, "sha256:cc", "48-1"), None);
        assert_eq!(get(&artifacts, "sha256:cc", "48-1+fuel").as_deref(), Some(&b"metered"[..]));
        artifacts.retain("48-2+fuel").unwrap();
        assert_eq!(get(&artifacts, "sha256:cc", "48-1+fuel"), None);
    }

    #[test]
    fn artifact_renamed_to_another_program_removes_it() {
        let (temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        let folder = temp.path().join("artifacts");
        std::fs::rename(folder.join("aa.48-1"), folder.join("bb.48-1")).unwrap();
        assert_eq!(get(&artifacts, "sha256:bb", "48-1"), None);
        assert!(!folder.join("bb.48-1").exists());
    }

    #[test]
    fn artifact_with_flipped_bit_or_cut_returns_none() {
        let (temp, artifacts) = artifacts();
        let code: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let path = temp.path().join("artifacts/aa.48-1");
        artifacts.put("sha256:aa", "48-1", &code).unwrap();
        let complete = std::fs::read(&path).unwrap();
        let step = complete.len() * 8 / 2000;
        for flip in 0..2000 {
            let mut damaged = complete.clone();
            let bit = flip * step;
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(get(&artifacts, "sha256:aa", "48-1"), None, "bit {bit}");
        }
        for length in [0, 1, SEAL_SIZE - 1, SEAL_SIZE, complete.len() - 1] {
            std::fs::write(&path, &complete[..length]).unwrap();
            assert_eq!(get(&artifacts, "sha256:aa", "48-1"), None, "{length} bytes");
        }
    }
}
