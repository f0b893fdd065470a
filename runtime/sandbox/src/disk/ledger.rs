//! [`Ledger`]: the quotas of a run's mounts, and how much of them is used.

use std::sync::{Arc, OnceLock};

use cap_std::fs::Dir;
use capstan_core::mount::{Mount, Quota};
use capstan_core::outcome::{DiskLimit, DiskResource, FileSystemLimit, Outcome};
use capstan_core::usage::{MountUsage, Usage};
use tokio_util::task::TaskTracker;

/// Counts what a run does on its mounts. The streams of the guest share it.
pub(super) struct Ledger {
    /// The quota of all mounts together.
    quota: Quota,
    mounts: Vec<MountEntry>,
    pub(super) usage: Arc<[MountUsage]>,
    /// The outcome for the first request that was denied.
    denied: OnceLock<Outcome>,
    /// The writes of streams that are in progress on a thread.
    pub(super) writes: TaskTracker,
}

struct MountEntry {
    dir: Arc<Dir>,
    quota: Quota,
    /// The names of the file, if the mount is a single file.
    file: Option<FileNames>,
}

/// The names of a mounted file.
struct FileNames {
    /// The name that the guest uses.
    guest: String,
    /// The name in its directory on the host.
    host: String,
}

/// The quota has no room for the request.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("disk quota exceeded")]
pub(super) struct QuotaExceeded;

/// What a path of the guest resolves to.
pub(super) enum PathTarget {
    /// A path in a mounted directory.
    InDirectory,
    /// The mounted file, whose name in its directory on the host is this.
    File(String),
    /// Nothing that the guest may access: another path beside a mounted file.
    Nothing,
}

impl Ledger {
    /// Creates the ledger of `mounts`. `quota` applies to all of them together.
    pub(super) fn new(mounts: &[Mount], quota: Quota, usage: &Usage) -> Self {
        let usage = usage.mounts.register(mounts.iter().map(|mount| mount.guest_path.as_str()));
        let entry = |mount: &Mount| MountEntry {
            dir: mount.dir.clone(),
            quota: mount.quota,
            file: mount
                .file
                .clone()
                .and_then(|host| Some(FileNames { guest: mount.guest_directory().1?.to_owned(), host })),
        };
        let mounts = mounts.iter().map(entry).collect();
        Self { quota, mounts, usage, denied: OnceLock::new(), writes: TaskTracker::new() }
    }

    /// Returns the outcome for the first request that was denied, if any.
    pub(super) fn denied(&self) -> Option<&Outcome> {
        self.denied.get()
    }

    /// Returns the directory on the host that is mounted, or that contains the mounted file.
    pub(super) fn dir(&self, mount: usize) -> &Arc<Dir> {
        &self.mounts[mount].dir
    }

    /// Counts a call.
    pub(super) fn count_operation(&self, mount: usize) {
        self.usage[mount].operations.add(1);
    }

    /// Counts bytes that were read.
    pub(super) fn count_read(&self, mount: usize, bytes: u64) {
        self.usage[mount].read_bytes.add(bytes);
    }

    /// Counts bytes that were written, or by which a file has grown.
    pub(super) fn count_written(&self, mount: usize, bytes: u64) {
        self.usage[mount].written_bytes.add(bytes);
    }

    /// Subtracts bytes that were counted but not written.
    pub(super) fn subtract_unwritten(&self, mount: usize, bytes: u64) {
        self.usage[mount].written_bytes.subtract(bytes);
    }

    /// Counts a file, a directory or a link that was created.
    pub(super) fn count_created(&self, mount: usize) {
        self.usage[mount].files_made.add(1);
    }

    /// Returns how much of `resource` remains: on the mount itself, and on all mounts together.
    fn remaining_by_quota(&self, mount: usize, resource: DiskResource) -> [u64; 2] {
        let used = |usage: &MountUsage| match resource {
            DiskResource::Bytes => usage.written_bytes.get(),
            DiskResource::Files => usage.files_made.get(),
        };
        let on_mount = self.mounts[mount].quota.get(resource).saturating_sub(used(&self.usage[mount]));
        let in_total = self.quota.get(resource).saturating_sub(self.usage.iter().map(used).sum());
        [on_mount, in_total]
    }

    /// Returns how much of `resource` the guest may still use on the mount.
    pub(super) fn remaining(&self, mount: usize, resource: DiskResource) -> u64 {
        let [on_mount, in_total] = self.remaining_by_quota(mount, resource);
        on_mount.min(in_total)
    }

    /// Returns how many of `requested` bytes may be written to a file that also grows by a hole of `hole` bytes.
    ///
    /// # Errors
    /// [`QuotaExceeded`] if it is none of them, which is recorded as denied.
    pub(super) fn admit_write(&self, mount: usize, requested: u64, hole: u64) -> Result<u64, QuotaExceeded> {
        let remaining = self.remaining(mount, DiskResource::Bytes).saturating_sub(hole);
        if requested > 0 && remaining == 0 {
            return Err(self.deny(mount, DiskResource::Bytes));
        }
        Ok(requested.min(remaining))
    }

    /// Records that a request was denied because a quota has no room for it.
    pub(super) fn deny(&self, mount: usize, resource: DiskResource) -> QuotaExceeded {
        let [on_mount, in_total] = self.remaining_by_quota(mount, resource);
        let (quota, mount) = if on_mount < in_total {
            (self.mounts[mount].quota, Some(self.usage[mount].guest.clone()))
        } else {
            (self.quota, None)
        };
        let by = DiskLimit::Policy { limit: quota.get(resource), mount };
        let _ = self.denied.set(Outcome::DiskCap { what: resource, by });
        QuotaExceeded
    }

    /// Records that the file system of a mount is full, or that its own quota is used up.
    pub(super) fn record_exhausted(&self, mount: usize, resource: DiskResource, file_system: FileSystemLimit) {
        let by = DiskLimit::FileSystem { file_system, mount: self.usage[mount].guest.clone() };
        let _ = self.denied.set(Outcome::DiskCap { what: resource, by });
    }

    /// Resolves a path of the guest, which is relative to a directory of the mount.
    pub(super) fn resolve(&self, mount: usize, path: &str) -> PathTarget {
        match &self.mounts[mount].file {
            None => PathTarget::InDirectory,
            Some(names) if path == names.guest || path.strip_prefix("./") == Some(names.guest.as_str()) => {
                PathTarget::File(names.host.clone())
            }
            Some(_) => PathTarget::Nothing,
        }
    }

    /// Returns whether the mount is a single file. The guest may not access anything else in its directory.
    pub(super) fn is_file(&self, mount: usize) -> bool {
        self.mounts[mount].file.is_some()
    }
}
