//! [`Artifacts`]: compiled code, sealed with the key of the data directory.
//!
//! Compiled code is native code that runs unchecked, so a file of it must prove that this daemon wrote it. The proof is an HMAC-SHA256 over
//! the fingerprint (the full version of the library, its configuration and the target), the digest of the program and the code. Its key is
//! in the data directory, in a file of mode 0600 in a directory of mode 0700. A file without a valid proof is removed, and its program is
//! compiled again.

use std::collections::HashSet;

use cap_std::fs::Dir;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use capstan_engine::handler_store::StoreError;

use super::atomic_dir::AtomicDir;

const TAG_SIZE: usize = 32;
const KEY_SIZE: usize = 32;

/// The compiled code in a data directory. Clones are the same. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Artifacts {
    dir: AtomicDir,
    key: Key,
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
        let keys = AtomicDir::open(data, "keys")?;
        let key = match keys.read("artifacts")?.and_then(|key| <[u8; KEY_SIZE]>::try_from(key).ok()) {
            Some(key) => key,
            None => {
                let mut key = [0; KEY_SIZE];
                getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
                keys.write("artifacts", &[&key])?;
                key
            }
        };
        Ok(Self { dir: AtomicDir::open(data, "artifacts")?, key: Key(key) })
    }

    /// Returns the code compiled from the program with `digest` for `fingerprint`, if it is stored with a valid proof.
    pub fn get(&self, digest: &str, fingerprint: &str) -> Option<Vec<u8>> {
        let name = file_name(digest, fingerprint);
        let file = self.dir.read(&name).ok()??;
        let code = self.key.unseal(digest, fingerprint, file);
        if code.is_none() {
            tracing::warn!(
                name,
                "compiled code has no valid seal; it is removed, and the program will be compiled again"
            );
            let _ = self.dir.remove(&name);
        }
        code
    }

    /// Stores `code`.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn put(&self, digest: &str, fingerprint: &str, code: &[u8]) -> Result<(), StoreError> {
        let tag = self.key.tag(digest, fingerprint, code);
        self.dir.write(&file_name(digest, fingerprint), &[code, &tag])
    }

    /// Removes code that was compiled for another fingerprint of the same profile, because nothing will request it again. The profile is
    /// the part of a fingerprint after the first `+`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn retain(&self, fingerprint: &str) -> Result<(), StoreError> {
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
        self.mac(digest, fingerprint, code).finalize().into_bytes().into()
    }

    /// Returns the code of `file`, if its proof is valid.
    pub(super) fn unseal(&self, digest: &str, fingerprint: &str, mut file: Vec<u8>) -> Option<Vec<u8>> {
        let (code, tag) = file.split_at(file.len().checked_sub(TAG_SIZE)?);
        self.mac(digest, fingerprint, code).verify_slice(tag).ok()?;
        file.truncate(file.len() - TAG_SIZE);
        Some(file)
    }

    fn mac(&self, digest: &str, fingerprint: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [digest.as_bytes(), fingerprint.as_bytes(), code] {
            // The length before each part keeps its bytes from being taken for those of another part.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
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

    #[test]
    fn get_returns_code_only_for_its_own_program_and_fingerprint() {
        let (_temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        assert_eq!(artifacts.get("sha256:aa", "48-1").as_deref(), Some(&b"code"[..]));
        assert_eq!(artifacts.get("sha256:bb", "48-1"), None);
        assert_eq!(artifacts.get("sha256:aa", "48-2"), None);
        artifacts.put("sha256:cc", "48-1", b"code").unwrap();
        artifacts.retain_programs(&HashSet::from(["sha256:cc".to_owned()])).unwrap();
        assert_eq!(artifacts.get("sha256:aa", "48-1"), None);
        assert!(artifacts.get("sha256:cc", "48-1").is_some());
        artifacts.put("sha256:cc", "48-1+fuel", b"metered").unwrap();
        artifacts.retain("48-2").unwrap();
        assert_eq!(artifacts.get("sha256:cc", "48-1"), None);
        assert_eq!(artifacts.get("sha256:cc", "48-1+fuel").as_deref(), Some(&b"metered"[..]));
        artifacts.retain("48-2+fuel").unwrap();
        assert_eq!(artifacts.get("sha256:cc", "48-1+fuel"), None);
    }

    #[test]
    fn get_artifact_renamed_to_another_program_removes_it() {
        let (temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        let folder = temp.path().join("artifacts");
        std::fs::rename(folder.join("aa.48-1"), folder.join("bb.48-1")).unwrap();
        assert_eq!(artifacts.get("sha256:bb", "48-1"), None);
        assert!(!folder.join("bb.48-1").exists());
    }

    #[test]
    fn get_artifact_with_flipped_bit_or_cut_returns_none() {
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
            assert_eq!(artifacts.get("sha256:aa", "48-1"), None, "bit {bit}");
        }
        for length in [0, 1, TAG_SIZE - 1, TAG_SIZE, complete.len() - 1] {
            std::fs::write(&path, &complete[..length]).unwrap();
            assert_eq!(artifacts.get("sha256:aa", "48-1"), None, "{length} bytes");
        }
    }
}
