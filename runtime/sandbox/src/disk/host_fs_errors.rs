//! Finds out whether a call failed because the host file system of a mount is full or its own quota is used up. If so, that is the outcome
//! of the run.

use std::io::{self, Write as _};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_core::outcome::{DiskResource, FileSystemLimit};
use capstan_store::blocking;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::ledger::Ledger;

/// How wasmtime-wasi reports a call that failed for lack of space.
#[derive(Clone, Copy, Debug)]
pub(super) enum FsFailure {
    /// The file system is full.
    NoSpace,
    /// An I/O error. wasmtime-wasi reports an exceeded quota like this too, because it has no code for that.
    Io,
}

impl Ledger {
    /// Records why a call that needed `resource` failed, if the file system of the mount has no more. Returns whether the reason is a quota
    /// of the file system.
    pub(super) async fn record_failed_call(&self, mount: usize, resource: DiskResource, failure: FsFailure) -> bool {
        match failure {
            FsFailure::NoSpace => self.record_exhausted(mount, resource, FileSystemLimit::Full),
            FsFailure::Io if self.is_quota_used_up(mount).await => {
                self.record_exhausted(mount, resource, FileSystemLimit::Quota);
                return true;
            }
            FsFailure::Io => {}
        }
        false
    }

    /// Records why a write failed, if the file system of the mount has no more space.
    pub(super) fn record_failed_write(&self, mount: usize, error: &io::Error) {
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC) => self.record_exhausted(mount, DiskResource::Bytes, FileSystemLimit::Full),
            Some(Errno::DQUOT) => self.record_exhausted(mount, DiskResource::Bytes, FileSystemLimit::Quota),
            _ => {}
        }
    }

    async fn is_quota_used_up(&self, mount: usize) -> bool {
        let dir = self.dir(mount).clone();
        blocking(move || is_denied_by_quota(&dir)).await
    }
}

/// Returns whether a quota denies a new file here, or a byte in one. The file has no name, and is removed when it is closed.
fn is_denied_by_quota(dir: &Dir) -> bool {
    let unnamed = OFlags::TMPFILE.bits().cast_signed();
    let written =
        dir.open_with(".", OpenOptions::new().write(true).custom_flags(unnamed)).and_then(|mut file| file.write(b"x"));
    written.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::DQUOT))
}
