//! The lock on the data folder: one daemon at a time.

use std::io::{self, Read as _, Seek as _, Write as _};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::FlockOperation;

const FILE: &str = "lock";

/// Held while it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another daemon (pid {0}) uses it; stop that one, or choose another folder with --data")]
    Held(String),
    #[error("cannot lock it: {0}")]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of `data`, and writes into it whose it is.
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

    fn folder() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test opens its own folder")]
        let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_second_daemon_is_told_of_the_first() {
        let (_folder, dir) = folder();
        let first = Lock::take(&dir).unwrap();
        let error = Lock::take(&dir).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(&dir).unwrap();
    }

    #[test]
    fn what_a_dead_daemon_left_in_the_file_is_replaced() {
        let (_folder, dir) = folder();
        dir.write(FILE, "99999999999999\n").unwrap();
        let _lock = Lock::take(&dir).unwrap();
        assert_eq!(dir.read_to_string(FILE).unwrap(), format!("{}\n", std::process::id()));
    }
}
