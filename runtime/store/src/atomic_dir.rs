//! [`AtomicDir`]: a directory whose files are written completely or not at all.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use capstan_engine::handler_store::StoreError;

/// The prefix of a file's name while it is being written. No handler name and no digest starts with a dot.
const UNFINISHED: &str = ".unfinished-";

/// The longest time that a process takes to write a file.
const MAX_WRITE_TIME: Duration = Duration::from_secs(3600);

/// A directory below the data directory. Clones are the same directory. Calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct AtomicDir {
    dir: Arc<Dir>,
    durability: Durability,
    /// The prefix of the names of files that this value is writing.
    unfinished: Arc<str>,
}

/// Whether a change is on the disk when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is.
    Synced,
    /// It is some time later. After a crash of the machine, a file may have any content. Several processes may use the directory.
    Unsynced,
}

/// Checks that the data directory belongs to the current user and that no other user can enter it.
///
/// # Errors
/// Returns [`StoreError::Io`], which says how to correct the directory.
pub fn check_data_dir(data: &Dir) -> Result<(), StoreError> {
    use cap_std::fs::MetadataExt as _;
    let metadata = data.dir_metadata().map_err(|error| StoreError::io("read the owner and mode", error))?;
    let rejected = |reason: String| StoreError::io("work", io::Error::other(reason));
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(rejected(format!("it belongs to user {}, not to user {user}", metadata.uid())));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(rejected(format!("other users can enter it (mode {mode:o}); run `chmod 700` on it")));
    }
    Ok(())
}

impl AtomicDir {
    /// Opens the directory `name` below `data`. Creates it if it does not exist. Files that were never finished are in no list, and
    /// [`AtomicDir::remove_abandoned`] removes them.
    pub(super) fn open(data: &Dir, name: &str, durability: Durability) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io(format_args!("open {name}"), error);
        if let Err(error) = data.create_dir(name)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(failed(error));
        }
        let unfinished = format!("{UNFINISHED}{:016x}-", random()).into();
        let dir = data.open_dir(name).map_err(failed)?;
        // A directory whose files cannot be listed is an error now and not later.
        dir.entries().map_err(failed)?;
        Ok(Self { dir: Arc::new(dir), durability, unfinished })
    }

    /// Removes the files that were never finished, unless somebody may still be writing them.
    pub(super) fn remove_abandoned(&self) -> Result<(), StoreError> {
        for name in self.all_names()? {
            if name.starts_with(UNFINISHED) && self.is_abandoned(&name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// As [`AtomicDir::remove_abandoned`], for a directory of directories.
    pub(super) fn remove_abandoned_dirs(&self) -> Result<(), StoreError> {
        for name in self.all_names()? {
            if name.starts_with(UNFINISHED) && self.is_abandoned(&name) {
                let removed = self.dir.remove_dir_all(&name);
                removed.map_err(|error| StoreError::io(format_args!("remove {name}"), error))?;
            }
        }
        Ok(())
    }

    /// Returns a new name that is in no list, for something that is being written.
    pub(super) fn unfinished_name(&self) -> String {
        format!("{}{:016x}", self.unfinished, random())
    }

    /// Returns whether nobody will finish the file `name`. Another process may be about to, if it uses the directory too.
    fn is_abandoned(&self, name: &str) -> bool {
        let age = || self.dir.symlink_metadata(name).ok()?.modified().ok()?.into_std().elapsed().ok();
        match self.durability {
            Durability::Synced => !name.starts_with(&*self.unfinished),
            Durability::Unsynced => age().is_some_and(|age| age > MAX_WRITE_TIME),
        }
    }

    /// Returns the names of its files that are finished.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.starts_with(UNFINISHED));
        Ok(names)
    }

    fn all_names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error| StoreError::io("list files", error);
        let entries = self.dir.entries().map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Returns the directory, for what concerns neither the content of files nor their completeness.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Opens the file `name`, or returns `None` if it does not exist.
    pub(super) fn open_file(&self, name: &str) -> Result<Option<File>, StoreError> {
        match self.dir.open(name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(format_args!("read {name}"), error)),
        }
    }

    /// Returns the content of the file `name`, or `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(mut file) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| StoreError::io(format_args!("read {name}"), error))?;
        Ok(Some(bytes))
    }

    /// Writes `parts` as the file `name` and replaces an existing one. The file is on the disk when this returns.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), StoreError> {
        let unfinished = self.unfinished_name();
        let written = self.write_new(&unfinished, parts).and_then(|()| {
            self.dir.rename(&unfinished, &self.dir, name)?;
            self.sync()
        });
        written.map_err(|error| {
            // If it cannot be removed now, the next start removes it.
            let _ = self.dir.remove_file(&unfinished);
            StoreError::io(format_args!("write {name}"), error)
        })
    }

    /// Removes the file `name`. Does nothing if it does not exist.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.dir.remove_file(name).and_then(|()| self.sync()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(format_args!("remove {name}"), error))
            }
            _ => Ok(()),
        }
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        for part in parts {
            file.write_all(part)?;
        }
        match self.durability {
            Durability::Synced => file.sync_all(),
            Durability::Unsynced => Ok(()),
        }
    }

    /// Makes renames durable: a rename is on the disk only after its directory is synced.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self.durability {
            Durability::Synced => self.dir.open(".")?.sync_all(),
            Durability::Unsynced => Ok(()),
        }
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random source answers once the machine has booted");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp_data() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, data)
    }

    #[test]
    fn failed_write_leaves_old_file_and_nothing_else() {
        let (temp, data) = temp_data();
        let dir = AtomicDir::open(&data, "f", Durability::Synced).unwrap();
        dir.write("a", &[b"old"]).unwrap();
        // A directory has the name of the file, so that the last step fails.
        dir.dir.create_dir("b").unwrap();
        assert!(dir.write("b", &[b"new"]).is_err());
        assert_eq!(dir.read("a").unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(std::fs::read_dir(temp.path().join("f")).unwrap().count(), 2);
    }

    #[test]
    fn unfinished_file_is_removed_once_no_other_process_can_write_it() {
        let (temp, data) = temp_data();
        let path = temp.path().join("f/.unfinished-1");
        let shared = AtomicDir::open(&data, "f", Durability::Unsynced).unwrap();
        std::fs::write(&path, "x").unwrap();
        shared.remove_abandoned().unwrap();
        assert!(path.exists());
        let long_ago = std::time::SystemTime::now() - 2 * MAX_WRITE_TIME;
        std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        shared.remove_abandoned().unwrap();
        assert!(!path.exists());
        let own = AtomicDir::open(&data, "f", Durability::Synced).unwrap();
        let being_written = temp.path().join("f").join(format!("{}1", own.unfinished));
        for path in [&path, &being_written] {
            std::fs::write(path, "x").unwrap();
        }
        assert!(own.names().unwrap().is_empty());
        own.remove_abandoned().unwrap();
        assert!(!path.exists() && being_written.exists());
    }

    #[test]
    fn written_file_is_readable_by_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (temp, data) = temp_data();
        AtomicDir::open(&data, "f", Durability::Synced).unwrap().write("a", &[b"x", b"y"]).unwrap();
        let file = temp.path().join("f/a");
        assert_eq!(std::fs::read(&file).unwrap(), b"xy");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
