//! `MountsUsage`: what a run did on each of its mounts.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::Counter;

/// The mounts of a run, and what was done on each; empty until the run has begun, and for good where it has none.
#[derive(Debug, Default)]
pub struct MountsUsage(OnceLock<Arc<[MountUsage]>>);

/// Counters of one mount of one run.
#[derive(Debug, Default)]
pub struct MountUsage {
    /// The path by which the guest knows it.
    pub guest: String,
    /// Calls to open, read, write, list or change something.
    pub operations: Counter,
    pub read_bytes: Counter,
    /// What was written, and what files grew by without being written.
    pub written_bytes: Counter,
    /// Files, directories and links that were made.
    pub files_made: Counter,
}

/// The counters of one mount at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountReport {
    /// The path by which the guest knows it.
    pub guest: String,
    pub operations: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub files_made: u64,
}

impl MountsUsage {
    /// Counters for these mounts, from now on.
    pub fn count<'a>(&self, guests: impl Iterator<Item = &'a str>) -> Arc<[MountUsage]> {
        let usages = || guests.map(|guest| MountUsage { guest: guest.to_owned(), ..MountUsage::default() }).collect();
        self.0.get_or_init(usages).clone()
    }

    /// The counters now.
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
