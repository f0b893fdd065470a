//! [`Mount`]: an open directory that is granted to a run, with its path in the guest.
//!
//! The directory is a value. Its path is looked up only once, when the directory is granted.

mod guest_path;
mod open;

use std::fmt;
use std::sync::Arc;

use cap_std::fs::Dir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::guest_path::{GuestPathError, check_guest_path, check_guest_paths, guest_path, guest_path_from_host};
pub use self::open::{MountSource, open_beneath, open_file};
use crate::outcome::DiskResource;

/// The path at which the runs of a handler find its files.
pub const APP: &str = "/app";

/// A directory, or one file of it, that is granted to a run.
#[derive(Clone, Debug)]
pub struct Mount {
    pub dir: Arc<Dir>,
    /// The name of the granted file in `dir`. `None` grants all of `dir`.
    pub file: Option<String>,
    /// The path of the mount in the guest.
    pub guest_path: String,
    pub access: Access,
    /// How much a run may write to the mount.
    pub quota: Quota,
}

impl Mount {
    /// Returns the mount of the files of a handler, or of one of them: read-only at [`APP`].
    pub fn of_files(dir: Arc<Dir>, file: Option<String>) -> Self {
        let guest_path = file.as_ref().map_or_else(|| APP.to_owned(), |name| format!("{APP}/{name}"));
        Self { dir, file, guest_path, access: Access::ReadOnly, quota: Quota::UNLIMITED }
    }
}

/// The permission to create a scratch directory for one run.
#[derive(Clone, Debug)]
pub struct ScratchGrant {
    /// The directory in which the scratch directory is created.
    pub folder: Arc<Dir>,
    /// Bytes that the run may write to it.
    pub bytes: u64,
}

/// The access of a guest to a mount, in increasing order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    #[default]
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "rw")]
    ReadWrite,
}

/// How much a run may write. Deleting gives nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl Quota {
    /// A quota without limits.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, files: u64::MAX };

    /// Returns the limit of `resource`.
    pub fn get(&self, resource: DiskResource) -> u64 {
        match resource {
            DiskResource::Bytes => self.bytes,
            DiskResource::Files => self.files,
        }
    }
}

impl Mount {
    /// Returns the directory that the guest sees, and the name of the file in it if the mount is one file.
    pub fn guest_directory(&self) -> (&str, Option<&str>) {
        match (&self.file, self.guest_path.rsplit_once('/')) {
            (Some(_), Some((parent, name))) => (if parent.is_empty() { "/" } else { parent }, Some(name)),
            _ => (&self.guest_path, None),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        })
    }
}
