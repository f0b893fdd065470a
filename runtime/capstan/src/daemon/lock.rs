//! `Lock`: the lock on the data directory, which only one daemon can hold.

use std::io::{self, Read as _, Seek as _, Write as _};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::FlockOperation;

/// The name of the lock file in the data directory.
const FILE: &str = "lock";

/// The lock on the data directory. Dropping it releases the lock, and the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Why the data directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another daemon (pid {0}) uses it; stop that daemon, or choose another directory with --data")]
    Held(String),
    #[error("cannot lock it: {0}")]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock on `data` without waiting, and writes the id of this process into its file.
    ///
    /// # Errors
    /// [`LockError`]
    pub(super) fn take(data: &Dir) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let mut file = data.open_with(FILE, &options)?;
        if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(io::Error::from(error).into());
            }
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            let pid = pid.trim();
            return Err(LockError::Held(if pid.is_empty() { "unknown".to_owned() } else { pid.to_owned() }));
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary_directory() -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test opens its own directory")]
        let dir = Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority()).unwrap();
        (directory, dir)
    }

    #[test]
    fn take_of_a_held_lock_names_its_holder() {
        let (_directory, dir) = temporary_directory();
        let first = Lock::take(&dir).unwrap();
        let error = Lock::take(&dir).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(&dir).unwrap();
    }

    #[test]
    fn take_replaces_the_content_of_a_dead_daemon() {
        let (_directory, dir) = temporary_directory();
        dir.write(FILE, "99999999999999\n").unwrap();
        let _lock = Lock::take(&dir).unwrap();
        assert_eq!(dir.read_to_string(FILE).unwrap(), format!("{}\n", std::process::id()));
    }
}
