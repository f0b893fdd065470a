//! [`FilesLimits`] and [`FilesError`]: how large the files of a handler may be, and why they were not stored.

use std::io;

use capstan_core::units::format_size;
use rustix::io::Errno;

/// The limits on the files of one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesLimits {
    /// The sum of the sizes of all files, in bytes. Default: 256 MiB.
    pub size: u64,
    /// The number of files and directories. Default: 50,000.
    pub entries: u64,
}

impl Default for FilesLimits {
    fn default() -> Self {
        Self { size: 256 << 20, entries: 50_000 }
    }
}

impl FilesLimits {
    /// Returns the most bytes that an archive of such files may have. Each entry needs a header and is padded, and a long name takes
    /// three blocks more.
    pub fn archive(&self) -> u64 {
        self.size.saturating_add(self.entries.saturating_mul(4096)).saturating_add(64 << 10)
    }
}

/// Why the files of a handler were not stored. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("the files are compressed ({0}); send a plain tar archive")]
    Compressed(&'static str),
    #[error("the files are not a tar archive: {0}")]
    NotTar(String),
    #[error("the archive has no files")]
    Empty,
    #[error("{name:?} in the files {reason}")]
    Entry { name: String, reason: &'static str },
    #[error("the files have more than {}; the operator can raise size under [files]", format_size(*.0))]
    TooLarge(u64),
    #[error("there are more than {0} files and directories; the operator can raise entries under [files]")]
    TooMany(u64),
    #[error("the data directory is full: the disk or a quota has no space left")]
    Full,
    #[error("cannot unpack the files: {0}")]
    Io(io::Error),
}

impl FilesError {
    /// Returns the error for `source`, which occurred while the files were written.
    pub fn write(source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            _ => Self::Io(source),
        }
    }
}
