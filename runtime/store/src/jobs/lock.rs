//! The lock of the store, which only one process can hold.

use std::io;

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use capstan_engine::job_store::JobStoreError;
use rustix::fs::FlockOperation;

use super::failure::file_failed;

/// The lock. Dropping it releases the lock, and the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of the store in `dir` without waiting.
    pub(super) fn take(dir: &Dir) -> Result<Self, JobStoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = dir.open_with("lock", &options).map_err(file_failed("lock the store"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let reason = "another process has it open; stop that daemon, or use another data directory";
                Err(JobStoreError::io("open the store", reason))
            }
            Err(error) => Err(JobStoreError::io("lock the store", io::Error::from(error))),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was just forked has the open file too, until it executes its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}
