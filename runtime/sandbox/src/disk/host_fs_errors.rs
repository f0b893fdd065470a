//! The file systems that mounts stand on: where one has no more to give, for want of space or by a quota of its own, that is what a run
//! is told to have failed of.

use std::io::{self, Write as _};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_core::outcome::{DiskLimit, DiskResource, FileSystemLimit, Outcome};
use capstan_store::blocking;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Ledger;

/// What the library says of a call for room that has failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// That the file system is full.
    Full,
    /// That the disk is broken, which it also says where a quota is spent: it has no word for that.
    Broken,
}

impl Ledger {
    /// Notes what a call for room has failed of, where that is what the file system of a mount has to give. Gives whether it is a quota.
    pub(super) async fn call_failed(&self, mount: usize, what: DiskResource, said: Said) -> bool {
        match said {
            Said::Full => self.has_no_more(mount, what, FileSystemLimit::Full),
            Said::Broken if self.quota_is_spent(mount).await => {
                self.has_no_more(mount, what, FileSystemLimit::Quota);
                return true;
            }
            Said::Broken => {}
        }
        false
    }

    /// Notes that the file system of a mount has no more to give.
    fn has_no_more(&self, mount: usize, what: DiskResource, file_system: FileSystemLimit) {
        let by = DiskLimit::FileSystem { file_system, mount: self.usage[mount].guest.clone() };
        let _ = self.denied.set(Outcome::DiskCap { resource: what, by });
    }

    /// Notes the same where it is what a write has failed of.
    pub(super) fn write_failed(&self, mount: usize, error: &io::Error) {
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC) => self.has_no_more(mount, DiskResource::Bytes, FileSystemLimit::Full),
            Some(Errno::DQUOT) => self.has_no_more(mount, DiskResource::Bytes, FileSystemLimit::Quota),
            _ => {}
        }
    }

    /// Whether a quota of a mount's file system is spent.
    async fn quota_is_spent(&self, mount: usize) -> bool {
        let dir = self.mounts[mount].dir.clone();
        blocking(move || is_spent(&dir)).await
    }
}

/// Whether whoever asks for a file here, or for a byte of one, is denied it by a quota. The file has no name, and is gone again.
fn is_spent(dir: &Dir) -> bool {
    let nameless = OFlags::TMPFILE.bits().cast_signed();
    let asked =
        dir.open_with(".", OpenOptions::new().write(true).custom_flags(nameless)).and_then(|mut file| file.write(b"x"));
    asked.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::DQUOT))
}
