//! Compiled code, sealed with the key of the data folder.
//!
//! Compiled code is native code that is trusted blindly, so a file of it is worth nothing without proof that this daemon wrote it. The
//! proof is an HMAC-SHA256 under a key that lies in the folder (mode 0600, folder 0700) over the fingerprint (full version of the
//! library, configuration, target), the digest of the program and the code. What does not prove itself does not exist: it is removed,
//! and the program is compiled again.

use std::collections::HashSet;

use cap_std::fs::Dir;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use capstan_engine::handler_store::StoreError;

use super::folder::Folder;

const TAG: usize = 32;
const KEY: usize = 32;

/// The compiled code of a data folder. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: Folder,
    key: Key,
}

/// What code is sealed with.
#[derive(Clone)]
pub(super) struct Key(pub(super) [u8; KEY]);

impl Artifacts {
    /// Opens the artifacts of `data`; makes the key if there is none.
    ///
    /// # Errors
    /// [`StoreError`] where the folder or the key cannot be made or read.
    pub fn open(data: &Dir) -> Result<Self, StoreError> {
        let keys = Folder::open(data, "keys")?;
        let key = match keys.read("artifacts")?.and_then(|key| <[u8; KEY]>::try_from(key).ok()) {
            Some(key) => key,
            None => {
                let mut key = [0; KEY];
                getrandom::fill(&mut key).expect("the kernel's random source answers once the machine has booted");
                keys.write("artifacts", &[&key])?;
                key
            }
        };
        Ok(Self { folder: Folder::open(data, "artifacts")?, key: Key(key) })
    }

    /// The code compiled from the program with `digest` for `fingerprint`, if it is here and proves itself.
    pub fn get(&self, digest: &str, fingerprint: &str) -> Option<Vec<u8>> {
        let name = name(digest, fingerprint);
        let file = self.folder.read(&name).ok()??;
        let code = self.key.unsealed(digest, fingerprint, file);
        if code.is_none() {
            tracing::warn!(name, "compiled code does not prove itself; it is removed and made again");
            let _ = self.folder.remove(&name);
        }
        code
    }

    /// Keeps `code`.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn put(&self, digest: &str, fingerprint: &str, code: &[u8]) -> Result<(), StoreError> {
        let tag = self.key.tag(digest, fingerprint, code);
        self.folder.write(&name(digest, fingerprint), &[code, &tag])
    }

    /// Removes what was compiled for any other fingerprint of the same profile, which is what is written from the first `+` on: nothing
    /// will ask for it again.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn retain(&self, fingerprint: &str) -> Result<(), StoreError> {
        let profile = |fingerprint: &str| fingerprint.split_once('+').map(|(_, profile)| profile.to_owned());
        for name in self.folder.names()? {
            let own = name.split_once('.').map_or("", |(_, fingerprint)| fingerprint);
            if own != fingerprint && profile(own) == profile(fingerprint) {
                self.folder.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes what was compiled from any other program than those with `digests`.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn retain_programs(&self, digests: &HashSet<String>) -> Result<(), StoreError> {
        for name in self.folder.names()? {
            let known = name.split_once('.').is_some_and(|(hex, _)| digests.contains(&format!("sha256:{hex}")));
            if !known {
                self.folder.remove(&name)?;
            }
        }
        Ok(())
    }
}

impl Key {
    /// What proves `code`, and stands after it in its file.
    pub(super) fn tag(&self, digest: &str, fingerprint: &str, code: &[u8]) -> [u8; TAG] {
        self.mac(digest, fingerprint, code).finalize().into_bytes().into()
    }

    /// The code of a `file`, if it proves itself.
    pub(super) fn unsealed(&self, digest: &str, fingerprint: &str, mut file: Vec<u8>) -> Option<Vec<u8>> {
        let (code, tag) = file.split_at(file.len().checked_sub(TAG)?);
        self.mac(digest, fingerprint, code).verify_slice(tag).ok()?;
        file.truncate(file.len() - TAG);
        Some(file)
    }

    fn mac(&self, digest: &str, fingerprint: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [digest.as_bytes(), fingerprint.as_bytes(), code] {
            // With its length before it, no part can pass for the end of another.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

fn name(digest: &str, fingerprint: &str) -> String {
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
    fn what_was_put_is_got_for_its_own_program_and_fingerprint_alone() {
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
    fn an_artifact_renamed_to_another_program_is_refused_and_removed() {
        let (temp, artifacts) = artifacts();
        artifacts.put("sha256:aa", "48-1", b"code").unwrap();
        let folder = temp.path().join("artifacts");
        std::fs::rename(folder.join("aa.48-1"), folder.join("bb.48-1")).unwrap();
        assert_eq!(artifacts.get("sha256:bb", "48-1"), None);
        assert!(!folder.join("bb.48-1").exists());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_accepted() {
        let (temp, artifacts) = artifacts();
        let code: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let path = temp.path().join("artifacts/aa.48-1");
        artifacts.put("sha256:aa", "48-1", &code).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let step = whole.len() * 8 / 2000;
        for flip in 0..2000 {
            let mut damaged = whole.clone();
            let bit = flip * step;
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(artifacts.get("sha256:aa", "48-1"), None, "bit {bit}");
        }
        for length in [0, 1, TAG - 1, TAG, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(artifacts.get("sha256:aa", "48-1"), None, "{length} bytes");
        }
    }
}
