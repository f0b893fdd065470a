//! A folder of files that are written whole or not at all.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_engine::handler_store::StoreError;

/// What a name begins with while its file is being written. No handler and no digest begins with a dot.
const UNFINISHED: &str = ".unfinished-";

/// A folder below the data folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Arc<Dir>);

/// Checks that the data folder is this user's alone, and readable and writable.
///
/// # Errors
/// [`StoreError::Io`] says what is wrong with it and how to mend it.
pub fn prepare(data: &Dir) -> Result<(), StoreError> {
    use cap_std::fs::MetadataExt as _;
    let metadata = data.dir_metadata().map_err(|error| StoreError::io("look", error))?;
    let refuse = |why: String| StoreError::io("work", io::Error::other(why));
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(refuse(format!("it belongs to user {}, not to user {me}", metadata.uid())));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!("others may enter it (mode {mode:o}); `chmod 700` it")));
    }
    Ok(())
}

impl Folder {
    /// The folder `name` below `data`, made if it is not there, cleared of what was never finished.
    pub(super) fn open(data: &Dir, name: &str) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io(format_args!("open {name}"), error);
        if let Err(error) = data.create_dir(name)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(failed(error));
        }
        let folder = Self(Arc::new(data.open_dir(name).map_err(failed)?));
        for name in folder.names()? {
            if name.starts_with(UNFINISHED) {
                folder.remove(&name)?;
            }
        }
        Ok(folder)
    }

    /// The names in it.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error| StoreError::io("list files", error);
        let entries = self.0.entries().map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// The bytes of `name`; `None` where there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |error| StoreError::io(format_args!("read {name}"), error);
        let mut file = match self.0.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes `parts` as the file `name`, in the place of what is there. On return it is on the disk.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), StoreError> {
        let unfinished = format!("{UNFINISHED}{:016x}", random());
        let written = self.write_new(&unfinished, parts).and_then(|()| {
            self.0.rename(&unfinished, &self.0, name)?;
            self.sync()
        });
        written.map_err(|error| {
            // What cannot be removed now is removed at the next start.
            let _ = self.0.remove_file(&unfinished);
            StoreError::io(format_args!("write {name}"), error)
        })
    }

    /// Removes `name`; it is no error where there is none.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.0.remove_file(name).and_then(|()| self.sync()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(format_args!("remove {name}"), error))
            }
            _ => Ok(()),
        }
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.0.open_with(name, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    }

    /// Makes names durable: a rename is on the disk only when its folder is.
    fn sync(&self) -> io::Result<()> {
        self.0.open(".")?.sync_all()
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

    fn folder() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, data)
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there_and_nothing_else() {
        let (temp, data) = folder();
        let folder = Folder::open(&data, "f").unwrap();
        folder.write("a", &[b"old"]).unwrap();
        // A folder stands where the file should go, so that the last step fails.
        folder.0.create_dir("b").unwrap();
        assert!(folder.write("b", &[b"new"]).is_err());
        assert_eq!(folder.read("a").unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(std::fs::read_dir(temp.path().join("f")).unwrap().count(), 2);
    }

    #[test]
    fn what_is_kept_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (temp, data) = folder();
        Folder::open(&data, "f").unwrap().write("a", &[b"x", b"y"]).unwrap();
        let file = temp.path().join("f/a");
        assert_eq!(std::fs::read(&file).unwrap(), b"xy");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
