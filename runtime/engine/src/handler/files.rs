//! [`FilesInfo`] and [`BaseInfo`]: the files of a handler, and the handler whose program it shares.

use serde::{Deserialize, Serialize};

/// The files of a handler, which its runs find at `/app`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesInfo {
    /// The SHA-256 of their names and contents, as `sha256:HEX`. Neither their order nor their times count.
    pub digest: String,
    /// The sum of their sizes, in bytes.
    pub size: u64,
    /// The number of files and directories.
    pub entries: u64,
}

/// The handler whose program another handler shares, as it was when that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseInfo {
    pub name: String,
    /// The SHA-256 of its program, as `sha256:HEX`.
    pub digest: String,
}
