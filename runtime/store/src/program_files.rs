//! [`ProgramFiles`]: which files have which programs, so that a file that has not changed needs to be neither read nor hashed.
//!
//! A file is taken for unchanged if its device, inode, size, and times of modification and change, in nanoseconds, are those with which it was
//! read. Nobody can set the time of change. It has the precision of a tick of the kernel, so a file that has changed shortly before it was
//! read may change again without a trace: such a file is not recorded. Nor is a file on a file system that is not known to keep these
//! times and numbers. A write through a shared mapping of the file may be noticed only once the kernel writes the page to the disk.
//!
//! A record is sealed, so that nobody without the key can pass one program off as another.

use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use capstan_core::feature::Features;
use capstan_engine::handler::Kind;
use capstan_engine::handler_store::StoreError;
use serde::{Deserialize, Serialize};

use super::atomic_dir::{AtomicDir, Durability};
use super::file_stamp::FileStamp;
use super::seal::{Key, Seal};

/// How many records there may be. A file whose number falls on that of another replaces its record.
const MAX_FILES: u64 = 1024;

/// How long a file must be unchanged when it is read, to be recorded. More than the precision of the times of any file system below.
const MIN_AGE: Duration = Duration::from_secs(2);

/// The file systems whose numbers of inodes and times of change are kept: ext, XFS, btrfs, F2FS, ZFS, bcachefs, tmpfs, and overlays.
const FILE_SYSTEMS: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994, 0x794c_7630];

/// What tells whether a file is still the one that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    stamp: FileStamp,
}

/// What a program is, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSummary {
    /// Its SHA-256 in the form `sha256:…`.
    pub digest: String,
    pub kind: Kind,
    /// Its bytes.
    pub size: u64,
    /// The WebAssembly features that its code is compiled with.
    #[serde(default)]
    pub features: Features,
}

/// The records in the cache of a user.
#[derive(Clone, Debug)]
pub(super) struct ProgramFiles {
    dir: AtomicDir,
    seal: Seal,
}

#[derive(Serialize, Deserialize)]
struct Record {
    file: FileIdentity,
    program: ProgramSummary,
}

impl FileIdentity {
    /// Returns the identity of `file`. `None` if it cannot show whether the file has changed, see the [module](self).
    pub fn of(file: &File) -> Option<Self> {
        let stat = rustix::fs::fstat(file).ok()?;
        let stamp = FileStamp::from_stat(&stat)?;
        let file_system = rustix::fs::fstatfs(file).ok()?.f_type;
        if !FILE_SYSTEMS.iter().any(|known| i128::from(*known) == i128::from(file_system)) {
            return None;
        }
        Some(Self { device: stat.st_dev, stamp })
    }

    /// Returns whether the file was unchanged for long enough at `time` that any later change gives it another identity.
    pub fn is_settled(&self, time: SystemTime) -> bool {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.stamp.modified.0.max(self.stamp.changed.0).saturating_add(1);
        u64::try_from(last).is_ok_and(|last| Duration::from_secs(last).saturating_add(MIN_AGE) <= time)
    }

    /// Returns the name of its record.
    fn record_name(&self) -> String {
        let [device, inode] = [self.device, self.stamp.inode].map(u64::to_le_bytes);
        let hash = blake3::hash(&[device, inode].concat());
        let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("8 bytes"));
        format!("{:04}", number % MAX_FILES)
    }
}

impl ProgramFiles {
    /// Opens the records of the cache `data`, which has the key `key`.
    pub(super) fn open(data: &Dir, key: &Key) -> Result<Self, StoreError> {
        let dir = AtomicDir::open(data, "files", Durability::Unsynced)?;
        dir.remove_abandoned()?;
        Ok(Self { dir, seal: Seal::of_program_file(key) })
    }

    /// Returns the program that was in the file with `identity`.
    pub(super) fn get(&self, identity: &FileIdentity) -> Option<ProgramSummary> {
        let sealed = self.dir.read(&identity.record_name()).ok()??;
        let record: Record = serde_json::from_slice(&self.seal.unseal(&[], &sealed)?).ok()?;
        (record.file == *identity).then_some(record.program)
    }

    /// Records that the file with `identity` has the program `program`. If that fails, the file is read again the next time.
    pub(super) fn put(&self, identity: &FileIdentity, program: &ProgramSummary) {
        let record = Record { file: identity.clone(), program: program.clone() };
        let json = serde_json::to_vec(&record).expect("plain data");
        if let Err(error) = self.dir.write(&identity.record_name(), &[&json, &self.seal.of(&[], &json)]) {
            tracing::debug!(%error, "cannot record which program a file has");
        }
    }

    /// Removes all records.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        self.dir.names()?.iter().try_for_each(|name| self.dir.remove(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files() -> (tempfile::TempDir, ProgramFiles) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, ProgramFiles::open(&dir, &Key([7; 32])).unwrap())
    }

    const STAMP: FileStamp = FileStamp { inode: 2, size: 3, modified: (100, 5), changed: (200, 6) };

    fn with_stamp(stamp: FileStamp) -> FileIdentity {
        FileIdentity { device: 1, stamp }
    }

    fn identity() -> FileIdentity {
        with_stamp(STAMP)
    }

    fn program() -> ProgramSummary {
        ProgramSummary { digest: "sha256:aa".to_owned(), kind: Kind::Module, size: 3, features: Features::new() }
    }

    #[test]
    fn file_is_known_only_with_all_of_its_identity() {
        let (_temp, files) = files();
        assert_eq!(files.get(&identity()), None);
        files.put(&identity(), &program());
        assert_eq!(files.get(&identity()), Some(program()));
        for other in [
            FileIdentity { device: 2, ..identity() },
            with_stamp(FileStamp { inode: 3, ..STAMP }),
            with_stamp(FileStamp { size: 4, ..STAMP }),
            with_stamp(FileStamp { modified: (100, 6), ..STAMP }),
            with_stamp(FileStamp { changed: (200, 5), ..STAMP }),
        ] {
            assert_eq!(files.get(&other), None, "{other:?}");
        }
        files.clear().unwrap();
        assert_eq!(files.get(&identity()), None);
    }

    #[test]
    fn record_without_a_valid_seal_is_ignored() {
        let (temp, files) = files();
        files.put(&identity(), &program());
        let path = temp.path().join("files").join(identity().record_name());
        let record = fs::read(&path).unwrap();
        let forged = String::from_utf8_lossy(&record[..record.len() - 32]).replace("sha256:aa", "sha256:bb");
        for bytes in [[forged.as_bytes(), &record[record.len() - 32..]].concat(), record[1..].to_vec(), Vec::new()] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(files.get(&identity()), None);
        }
        fs::write(&path, &record).unwrap();
        assert_eq!(files.get(&identity()), Some(program()));
    }

    #[test]
    fn file_that_changed_shortly_before_it_was_read_is_not_settled() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let is_settled = |seconds| identity().is_settled(at(seconds));
        assert_eq!([150, 200, 202, 203].map(is_settled), [false, false, false, true]);
        assert!(!with_stamp(FileStamp { modified: (300, 0), ..STAMP }).is_settled(at(250)));
        assert!(!with_stamp(FileStamp { changed: (i64::MAX, 0), ..STAMP }).is_settled(at(250)));
    }

    #[test]
    fn identity_changes_with_each_way_to_replace_a_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        let file = File::open(&path).unwrap();
        let Some(before) = FileIdentity::of(&file) else { return };
        assert_eq!(FileIdentity::of(&file), Some(before.clone()));
        // Another file of the same size and time of modification.
        let other = temp.path().join("b.wasm");
        fs::write(&other, "two").unwrap();
        File::open(&other).unwrap().set_modified(file.metadata().unwrap().modified().unwrap()).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(FileIdentity::of(&File::open(&path).unwrap()), Some(before));
        assert_eq!(FileIdentity::of(&File::open(temp.path()).unwrap()), None, "a directory");
    }
}
