//! The lock of the store, which only one process can hold.

use cap_std::fs::Dir;
use capstan_engine::job_store::JobStoreError;

use super::failure::file_failed;
use crate::lock_file::LockFile;

/// Takes the lock of the store in `dir` without waiting.
pub(super) fn take(dir: &Dir) -> Result<LockFile, JobStoreError> {
    LockFile::try_take(dir, "lock").map_err(file_failed("lock the store"))?.ok_or_else(|| {
        let reason = "another process has it open; stop that daemon, or use another data directory";
        JobStoreError::io("open the store", reason)
    })
}
