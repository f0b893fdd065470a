//! [`FileStamp`]: what tells whether a file is still the one that was read.

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

/// The inode, size and times of a regular file. A file that was changed or replaced has another stamp, if its file system keeps these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileStamp {
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

impl FileStamp {
    /// Returns the stamp of a file. `None` if it is not a regular file.
    pub(super) fn from_stat(stat: &Stat) -> Option<Self> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let time = |seconds, nanoseconds| (seconds, i64::try_from(nanoseconds).unwrap_or_default());
        Some(Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).ok()?,
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        })
    }
}
