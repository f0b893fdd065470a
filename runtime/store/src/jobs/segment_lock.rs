//! [`SegmentLock`]: keeps segments from being removed while somebody reads what an earlier commit names, also in another process.
//!
//! The lock is on the directory of the segments. A reader shares it from before it begins to read the database until it has read the
//! segments. The thread that writes takes it alone, without waiting, after the commit that does not name a segment any more. So a commit
//! that a reader sees names only segments that exist until the reader is done.

use std::io;

use cap_std::fs::{Dir, File};
use capstan_engine::job_store::JobStoreError;
use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use super::failure::file_failed;

/// The lock. Dropping it releases the lock, and the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub(super) struct SegmentLock(File);

impl SegmentLock {
    /// Takes the lock together with other readers. Waits while segments are removed, which takes no longer than that.
    pub(super) fn share(segments: &Dir) -> Result<Self, JobStoreError> {
        let dir = segments.open(".").map_err(file_failed("lock the segments"))?;
        retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockShared)).map_err(lock_failed)?;
        Ok(Self(dir))
    }

    /// Takes the lock alone, without waiting. Returns `None` if somebody reads segments.
    pub(super) fn try_exclusive(segments: &Dir) -> Result<Option<Self>, JobStoreError> {
        let dir = segments.open(".").map_err(file_failed("lock the segments"))?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(dir))),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(lock_failed(error)),
        }
    }
}

impl Drop for SegmentLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was just forked has the open file too, until it executes its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock_failed(error: Errno) -> JobStoreError {
    JobStoreError::io("lock the segments", io::Error::from(error))
}
