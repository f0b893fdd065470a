//! [`Artifacts`]: compiled code, sealed with the key of the data directory.
//!
//! Compiled code is native code that runs unchecked, so a file of it must prove that this daemon wrote it. The proof is an HMAC-SHA256 over
//! the fingerprint (the full version of the library, its configuration and the target), the digest of the program and the code. Its key is
//! in the data directory, in a file of mode 0600 in a directory of mode 0700. A file without a valid proof is removed, and its program is
//! compiled again.

use std::collections::HashSet;
use std::io;

use cap_std::fs::Dir;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use capstan_engine::handler_store::StoreError;

use super::atomic_dir::{AtomicDir, Durability};
use super::code_cache::{CacheLock, CachedCode, CodeCache};

const TAG_SIZE: usize = 32;
const KEY_SIZE: usize = 32;
/// Bytes that are read, checked and passed on at a time.
const PIECE_SIZE: usize = 256 << 10;

/// The compiled code in a data directory, or in the cache of a user. Clones are the same. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Artifacts {
    dir: AtomicDir,
    key: Key,
    /// What a cache has in addition.
    cache: Option<CodeCache>,
}

/// The key that seals compiled code.
#[derive(Clone)]
pub(super) struct Key(pub(super) [u8; KEY_SIZE]);

impl Artifacts {
    /// Opens the artifacts of `data`. Creates the key if there is none.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the directory or the key cannot be created or read.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        Self::open_with(data, Durability::Synced, None)
    }

    /// Opens the artifacts of `data` as a cache of at most `max_bytes`, which several processes may use. Code that was used least recently makes
    /// way for new code.
    ///
    /// # Errors
    /// As [`Artifacts::open`].
    pub fn open_cache(data: &Dir, max_bytes: u64) -> Result<Self, StoreError> {
        Self::open_with(data, Durability::Unsynced, Some(CodeCache { max_bytes }))
    }

    fn open_with(data: &Dir, durability: Durability, cache: Option<CodeCache>) -> Result<Self, StoreError> {
        let keys = AtomicDir::open(data, "keys", durability)?;
        let key = match keys.read("artifacts")?.and_then(|key| <[u8; KEY_SIZE]>::try_from(key).ok()) {
            Some(key) => key,
            None => {
                let mut key = [0; KEY_SIZE];
                getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
                keys.write("artifacts", &[&key])?;
                key
            }
        };
        Ok(Self { dir: AtomicDir::open(data, "artifacts", durability)?, key: Key(key), cache })
    }

    /// Writes the code compiled from the program with `digest` for `fingerprint` to `target`, and returns whether it is stored with a valid
    /// proof. If it is not, what was written must not be used.
    pub fn copy_to(&self, digest: &str, fingerprint: &str, target: &mut impl io::Write) -> bool {
        let name = file_name(digest, fingerprint);
        let Ok(Some(file)) = self.dir.open_file(&name) else { return false };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let is_valid = self.key.copy_unsealed(digest, fingerprint, size, &file, target).is_some();
        if !is_valid {
            tracing::warn!(
                name,
                "compiled code has no valid seal; it is removed, and the program will be compiled again"
            );
            let _ = self.dir.remove(&name);
        } else if self.is_cache() {
            CodeCache::record_use(file);
        }
        is_valid
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
    pub fn try_lock(&self, digest: &str, fingerprint: &str) -> io::Result<Option<CacheLock>> {
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
        Ok(entries)
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
        let tag = self.key.tag(digest, fingerprint, code);
        self.dir.write(&file_name(digest, fingerprint), &[code, &tag])
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
        let profile = |fingerprint: &str| fingerprint.split_once('+').map(|(_, profile)| profile.to_owned());
        for name in self.dir.names()? {
            let own = name.split_once('.').map_or("", |(_, fingerprint)| fingerprint);
            if own != fingerprint && profile(own) == profile(fingerprint) {
                self.dir.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes code that was compiled from programs other than those with `digests`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn retain_programs(&self, digests: &HashSet<String>) -> Result<(), StoreError> {
        for name in self.dir.names()? {
            let is_known = name.split_once('.').is_some_and(|(hex, _)| digests.contains(&format!("sha256:{hex}")));
            if !is_known {
                self.dir.remove(&name)?;
            }
        }
        Ok(())
    }
}

impl Key {
    /// Returns the proof of `code`, which follows it in its file.
    pub(super) fn tag(&self, digest: &str, fingerprint: &str, code: &[u8]) -> [u8; TAG_SIZE] {
        self.mac(digest, fingerprint, code.len() as u64).chain_update(code).finalize().into_bytes().into()
    }

    /// Returns the code of `file`, if its proof is valid.
    #[cfg(any(test, fuzzing))]
    pub(super) fn unseal(&self, digest: &str, fingerprint: &str, file: &[u8]) -> Option<Vec<u8>> {
        let mut code = Vec::new();
        self.copy_unsealed(digest, fingerprint, file.len() as u64, file, &mut code).map(|()| code)
    }

    /// Copies the code of a file of `size` bytes to `target`. Returns `None` if its proof is not valid.
    fn copy_unsealed(
        &self,
        digest: &str,
        fingerprint: &str,
        size: u64,
        mut reader: impl io::Read,
        target: &mut impl io::Write,
    ) -> Option<()> {
        let code_size = size.checked_sub(TAG_SIZE as u64)?;
        let mut mac = self.mac(digest, fingerprint, code_size);
        let (mut piece, mut remaining) = (vec![0; PIECE_SIZE], code_size);
        while remaining > 0 {
            let piece = &mut piece[..usize::try_from(remaining.min(PIECE_SIZE as u64)).ok()?];
            reader.read_exact(piece).ok()?;
            mac.update(piece);
            target.write_all(piece).ok()?;
            remaining -= piece.len() as u64;
        }
        let mut tag = [0; TAG_SIZE];
        reader.read_exact(&mut tag).ok()?;
        mac.verify_slice(&tag).ok()
    }

    /// Returns the code's MAC without the code, which has `code_size` bytes.
    fn mac(&self, digest: &str, fingerprint: &str, code_size: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [digest.as_bytes(), fingerprint.as_bytes()] {
            // The length before each part keeps its bytes from being taken for those of another part.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.update(&code_size.to_le_bytes());
        mac
    }
}

fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{}.{fingerprint}", digest.trim_start_matches("sha256:"))
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts() -> (tempfile::TempDir, Artifacts) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, Artifacts::open(&data).unwrap())
    }

    /// Returns the stored code, if its proof is valid.
    fn get(artifacts: &Artifacts, digest: &str, fingerprint: &str) -> Option<Vec<u8>> {
        let mut code = Vec::new();
        artifacts.copy_to(digest, fingerprint, &mut code).then_some(code)
    }

    #[test]
    fn code_is_returned_only_for_its_own_program_and_fingerprint() {
        let (_temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        assert_eq!(get(&artifacts, "sha256:aa", "48-1").as_deref(), Some(&b"code"[..]));
        assert_eq!(get(&artifacts, "sha256:bb", "48-1"), None);
        assert_eq!(get(&artifacts, "sha256:aa", "48-2"), None);
        artifacts.put("sha256:cc", "48-1", b"code").unwrap();
        artifacts.retain_programs(&HashSet::from(["sha256:cc".to_owned()])).unwrap();
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
        for length in [0, 1, TAG_SIZE - 1, TAG_SIZE, complete.len() - 1] {
            std::fs::write(&path, &complete[..length]).unwrap();
            assert_eq!(get(&artifacts, "sha256:aa", "48-1"), None, "{length} bytes");
        }
    }
}
