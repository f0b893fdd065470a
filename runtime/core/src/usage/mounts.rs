//! [`MountsUsage`]: the operations of a run on each of its mounts.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::counter::Counter;

/// The counters of all mounts of a run. Empty before the run starts, and in a run without mounts.
#[derive(Debug, Default)]
pub struct MountsUsage(OnceLock<Arc<[MountUsage]>>);

/// The counters of one mount of one run.
#[derive(Debug, Default)]
pub struct MountUsage {
    /// The path of the mount in the guest.
    pub guest: String,
    /// Calls to open, read, write, list or change something.
    pub operations: Counter,
    pub read_bytes: Counter,
    /// Bytes written, and bytes by which files grew without a write.
    pub written_bytes: Counter,
    /// Created files, directories and links.
    pub files_made: Counter,
}

/// The counters of one mount at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountReport {
    /// The path of the mount in the guest.
    pub guest: String,
    pub operations: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub files_made: u64,
}

impl MountsUsage {
    /// Creates the counters of the mounts with these guest paths. Returns the existing counters if there are any.
    pub fn register<'a>(&self, guest_paths: impl Iterator<Item = &'a str>) -> Arc<[MountUsage]> {
        let usage = |path: &str| MountUsage { guest: path.to_owned(), ..MountUsage::default() };
        self.0.get_or_init(|| guest_paths.map(usage).collect()).clone()
    }

    /// Returns the current counters.
    pub fn report(&self) -> Vec<MountReport> {
        self.0.get().map(|mounts| mounts.iter().map(MountUsage::report).collect()).unwrap_or_default()
    }
}

impl MountUsage {
    fn report(&self) -> MountReport {
        MountReport {
            guest: self.guest.clone(),
            operations: self.operations.get(),
            read_bytes: self.read_bytes.get(),
            written_bytes: self.written_bytes.get(),
            files_made: self.files_made.get(),
        }
    }
}
