//! [`CodeCache`]: what the cache of a user has in addition to the artifacts of a daemon: a limit on its size, and locks between processes.

use std::fs::FileTimes;
use std::io;
use std::time::SystemTime;

use cap_std::fs::Dir;
use capstan_engine::handler_store::StoreError;

use super::atomic_dir::AtomicDir;
use super::lock_file::LockFile;
use super::program_files::ProgramFiles;

/// How many files locks are spread over. They stay, and are empty.
const LOCK_FILES: u64 = 16;

/// The settings of a cache.
#[derive(Clone, Debug)]
pub(super) struct CodeCache {
    /// The most bytes of code.
    pub(super) max_bytes: u64,
    /// Which files have which programs.
    pub(super) files: ProgramFiles,
}

/// Compiled code in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedCode {
    /// The SHA-256 of the program, in hexadecimal.
    pub digest: String,
    /// What the code was compiled for.
    pub fingerprint: String,
    pub bytes: u64,
    /// When the code was used last.
    pub used: SystemTime,
}

impl CachedCode {
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}", self.digest, self.fingerprint)
    }
}

impl CodeCache {
    /// Returns all code, what was used last first.
    pub(super) fn entries(dir: &AtomicDir) -> Result<Vec<CachedCode>, StoreError> {
        let names = dir.names()?;
        let mut entries: Vec<_> = names.iter().filter_map(|name| Self::entry(dir.dir(), name)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Returns the entry of a file. `None` if it is no code, or was removed meanwhile.
    fn entry(dir: &Dir, name: &str) -> Option<CachedCode> {
        let (digest, fingerprint) = name.split_once('.').filter(|(digest, _)| !digest.is_empty())?;
        let metadata = dir.symlink_metadata(name).ok().filter(cap_std::fs::Metadata::is_file)?;
        let used = metadata.modified().ok()?.into_std();
        Some(CachedCode { digest: digest.to_owned(), fingerprint: fingerprint.to_owned(), bytes: metadata.len(), used })
    }

    /// Removes the code that was used least recently, until there is room for `size` bytes. Returns `false` if there never is.
    pub(super) fn make_room(&self, dir: &AtomicDir, size: u64) -> Result<bool, StoreError> {
        if size > self.max_bytes {
            return Ok(false);
        }
        let mut entries = Self::entries(dir)?;
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        while total > self.max_bytes - size
            && let Some(oldest) = entries.pop()
        {
            dir.remove(&oldest.file_name())?;
            total -= oldest.bytes;
        }
        Ok(true)
    }

    /// Records that the code in `file` was used now.
    pub(super) fn record_use(file: &std::fs::File) {
        // If the time cannot be set, the code merely looks older than it is.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }

    /// Tries to lock the code `name`. Returns `None` if another process has locked it.
    pub(super) fn try_lock(dir: &Dir, name: &str) -> io::Result<Option<LockFile>> {
        let sum = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        LockFile::try_take(dir, &format!(".lock-{}", sum % LOCK_FILES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Artifacts;

    fn cache(max_bytes: u64) -> (tempfile::TempDir, Artifacts) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, Artifacts::open_cache(&dir, max_bytes).unwrap())
    }

    fn digests(cache: &Artifacts) -> Vec<String> {
        cache.entries().unwrap().into_iter().map(|entry| entry.digest).collect()
    }

    /// Sets the time when the code of `digest` was used.
    fn set_used(temp: &tempfile::TempDir, digest: &str, seconds: u64) {
        let file = std::fs::File::open(temp.path().join(format!("artifacts/{digest}.48"))).unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    #[test]
    fn code_used_least_recently_makes_way_for_new_code() {
        let (temp, cache) = cache(1000);
        for (index, digest) in ["aa", "bb", "cc"].into_iter().enumerate() {
            cache.put(&format!("sha256:{digest}"), "48", &[7; 200]).unwrap();
            set_used(&temp, digest, index as u64);
        }
        assert!(cache.copy_to("sha256:aa", "48", &tempfile::tempfile().unwrap()));
        assert_eq!(digests(&cache), ["aa", "cc", "bb"]);
        cache.put("sha256:dd", "48", &[7; 600]).unwrap();
        let mut left = digests(&cache);
        left.sort();
        assert_eq!(left, ["aa", "dd"], "each has a seal of 32 bytes too");
        cache.put("sha256:ee", "48", &[7; 1001]).unwrap();
        assert_eq!(digests(&cache).len(), 2, "code that never fits removes nothing");
        assert_eq!(cache.clear().unwrap().len(), 2);
        assert!(digests(&cache).is_empty());
    }

    #[test]
    fn lock_is_held_by_one_at_a_time() {
        let (_temp, cache) = cache(1000);
        let lock = cache.try_lock("sha256:aa", "48").unwrap().unwrap();
        assert!(cache.try_lock("sha256:aa", "48").unwrap().is_none());
        drop(lock);
        assert!(cache.try_lock("sha256:aa", "48").unwrap().is_some());
        assert!(digests(&cache).is_empty(), "locks are no code");
    }

    #[test]
    fn garbage_in_the_cache_is_ignored() {
        let (temp, cache) = cache(1000);
        let folder = temp.path().join("artifacts");
        std::fs::create_dir(folder.join("dir.48")).unwrap();
        std::fs::write(folder.join("no-dot"), "x").unwrap();
        std::fs::write(folder.join("aa.48"), "garbage").unwrap();
        assert!(!cache.copy_to("sha256:aa", "48", &tempfile::tempfile().unwrap()));
        cache.put("sha256:aa", "48", b"code").unwrap();
        assert!(cache.copy_to("sha256:aa", "48", &tempfile::tempfile().unwrap()));
    }
}
