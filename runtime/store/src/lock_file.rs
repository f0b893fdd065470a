//! [`LockFile`]: a lock on a file, which one process can hold.

use std::io::{self, Read as _, Seek as _, Write as _};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A lock on a file. Dropping it releases the lock, and the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub struct LockFile(File);

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The process with this id holds it; the text is `unknown` if it has not written its id yet.
    #[error("the process with the id {0} holds the lock")]
    Held(String),
    #[error("cannot lock it: {0}")]
    Io(#[from] io::Error),
}

/// Takes the lock that a daemon holds on its data directory, without waiting.
///
/// # Errors
/// [`LockError`]
pub fn lock_data_dir(data: &Dir) -> Result<LockFile, LockError> {
    LockFile::take_as_process(data, "lock")
}

impl LockFile {
    /// Takes the lock on the file `name` in `dir` without waiting, and creates the file if it does not exist. Returns `None` if somebody else
    /// holds the lock.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn try_take(dir: &Dir, name: &str) -> io::Result<Option<Self>> {
        let file = Self::open(dir, name)?;
        Ok(lock(&file)?.then(|| Self(file)))
    }

    /// Does the same, and writes the id of this process into the file, which the error names if somebody else holds the lock.
    fn take_as_process(dir: &Dir, name: &str) -> Result<Self, LockError> {
        let mut file = Self::open(dir, name)?;
        if !lock(&file)? {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            let pid = pid.trim();
            return Err(LockError::Held(if pid.is_empty() { "unknown" } else { pid }.to_owned()));
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }

    fn open(dir: &Dir, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        dir.open_with(name, &options)
    }
}

/// Locks `file` without waiting. Returns whether it is locked.
fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was just forked has the open file too, until it executes its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary_directory() -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority()).unwrap();
        (directory, dir)
    }

    #[test]
    fn take_of_a_held_lock_names_its_holder() {
        let (_directory, dir) = temporary_directory();
        let first = LockFile::take_as_process(&dir, "lock").unwrap();
        let error = LockFile::take_as_process(&dir, "lock").unwrap_err();
        assert!(matches!(&error, LockError::Held(pid) if *pid == std::process::id().to_string()), "{error}");
        assert!(LockFile::try_take(&dir, "lock").unwrap().is_none());
        drop(first);
        LockFile::take_as_process(&dir, "lock").unwrap();
        assert!(LockFile::try_take(&dir, "lock").unwrap().is_some());
    }

    #[test]
    fn take_replaces_the_content_of_a_dead_process() {
        let (_directory, dir) = temporary_directory();
        dir.write("lock", "99999999999999\n").unwrap();
        let _lock = LockFile::take_as_process(&dir, "lock").unwrap();
        assert_eq!(dir.read_to_string("lock").unwrap(), format!("{}\n", std::process::id()));
    }
}
