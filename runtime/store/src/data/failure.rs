//! Translates the errors of SQLite and of files into [`DataError`].

use std::io;

use capstan_engine::data::DataError;
use rusqlite::{Error, ErrorCode, ffi};
use rustix::io::Errno;

const NOT_WRITABLE: &str = "the data directory cannot be written; check its owner, its mode and its mount";

/// Returns a function that makes the error for a failed `action`.
pub(super) fn failed(action: &'static str) -> impl Fn(Error) -> DataError {
    move |error| match error.sqlite_error() {
        Some(ffi::Error { code: ErrorCode::DiskFull, .. }) => DataError::Full,
        Some(ffi::Error { code: ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, .. }) | None => {
            DataError::damaged("data.db", error)
        }
        Some(ffi::Error { code: ErrorCode::ReadOnly, .. }) => DataError::io(action, NOT_WRITABLE),
        Some(_) => DataError::io(action, error),
    }
}

/// Returns a function that makes the error for an `action` on files that failed.
pub(super) fn file_failed(action: &'static str) -> impl Fn(io::Error) -> DataError {
    move |error| match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => DataError::Full,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => DataError::io(action, format!("{error}; {NOT_WRITABLE}")),
        _ => DataError::io(action, error),
    }
}

/// Returns whether it is unknown after `error` what is on the disk.
pub(super) fn is_fatal(error: &DataError) -> bool {
    matches!(error, DataError::Io { .. })
}
