//! `DataLock`: the lock that a daemon holds on its data directory, taken by a command that no daemon may disturb.

use std::io::{self, Read as _, Seek as _, Write as _};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The lock. Dropping it releases the lock, and the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub(super) struct DataLock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Why the data directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataLockError {
    #[error("a daemon (pid {0}) uses it; stop that daemon first")]
    Held(String),
    #[error("cannot lock it: {0}")]
    Io(#[from] io::Error),
}

impl DataLock {
    /// Takes the lock on `data` without waiting, and writes the id of this process into its file, for a daemon that starts meanwhile.
    ///
    /// # Errors
    /// [`DataLockError`]
    pub(super) fn take(data: &Dir) -> Result<Self, DataLockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let mut file = data.open_with("lock", &options)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                let pid = pid.trim();
                return Err(DataLockError::Held(if pid.is_empty() { "unknown" } else { pid }.to_owned()));
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}
