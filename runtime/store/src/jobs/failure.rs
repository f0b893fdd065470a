//! Translates the errors of SQLite and of files into [`JobStoreError`].

use std::io;

use capstan_engine::job_store::JobStoreError;
use rusqlite::{Error, ErrorCode, ffi};
use rustix::io::Errno;

const NOT_WRITABLE: &str = "the data directory cannot be written; check its owner, its mode and its mount";

/// Returns a function that makes the error for a failed `action`.
pub(super) fn failed(action: &'static str) -> impl Fn(Error) -> JobStoreError {
    move |error| translate(action, &error)
}

/// Returns a function that makes the error for an `action` on files that failed.
pub(super) fn file_failed(action: &'static str) -> impl Fn(io::Error) -> JobStoreError {
    move |error| match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => JobStoreError::Full,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {
            JobStoreError::io(action, format!("{error}; {NOT_WRITABLE}"))
        }
        _ => JobStoreError::io(action, error),
    }
}

fn translate(action: &'static str, error: &Error) -> JobStoreError {
    match error.sqlite_error() {
        Some(ffi::Error { code: ErrorCode::DiskFull, .. }) => JobStoreError::Full,
        Some(ffi::Error { code: ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, .. }) => {
            JobStoreError::damaged("jobs.db", error)
        }
        Some(ffi::Error { code: ErrorCode::ReadOnly, .. }) => JobStoreError::io(action, NOT_WRITABLE),
        Some(_) => JobStoreError::io(action, error),
        // A value of another type than the schema says.
        None => JobStoreError::damaged("jobs.db", error),
    }
}

/// Returns whether it is unknown after `error` what is on the disk.
pub(super) fn is_fatal(error: &JobStoreError) -> bool {
    matches!(error, JobStoreError::Io { .. })
}
