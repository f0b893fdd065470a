//! The quota of a run's mounts: what may still be put there, what was done there, and which handle of the guest belongs to which mount.
//!
//! The library offers no hook for this. So its functions are called through ones of ours, all of preview 1 and all of `wasi:filesystem`
//! 0.2: they look at what is asked for, hand on what there is room for, and count what came of it. A run without mounts has no [`Disk`],
//! and pays a look at an `Option`.
//!
//! Bytes count as they are written, and where a file grows without being written, by what it grows; nothing gives them back. So what a
//! run leaves is never more than what was counted, whatever it overwrites, cuts or removes in between.

mod filesystem;
mod host_fs_errors;
mod preview1;
mod streams;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cap_std::fs::Dir;
use capstan_core::mount::{Mount, Quota};
use capstan_core::outcome::{DiskLimit, DiskResource, Outcome};
use capstan_core::usage::{MountUsage, Usage};
use tokio_util::task::TaskTracker;

pub(super) use self::filesystem::HasFilesystem;
use self::preview1::Listing;
pub(super) use self::preview1::add_to_linker;

/// How long the end of a run waits for writes that are on their way to a file.
const SETTLE_BOUND: Duration = Duration::from_secs(1);

/// The mounts of one run.
pub(super) struct Disk {
    ledger: Arc<Ledger>,
    /// By number of a descriptor in preview 1, and by that of a resource in 0.2. Both are taken again when they are free, and bounded
    /// by the limit on handles.
    handles: Vec<Option<Handle>>,
    /// Of the directory that is being listed, in preview 1.
    listing: Option<Listing>,
}

/// A handle of the guest to something on a mount.
#[derive(Clone, Copy, Debug)]
struct Handle {
    mount: usize,
    /// A size that the file has at least, as far as this run knows.
    size: u64,
}

/// What there is room for, and what was done; shared with the streams of the guest.
struct Ledger {
    /// Over all mounts together.
    quota: Quota,
    mounts: Vec<OneMount>,
    usage: Arc<[MountUsage]>,
    /// What was denied first.
    denied: OnceLock<Outcome>,
    /// Writes of streams that a thread still works on.
    writes: TaskTracker,
}

struct OneMount {
    dir: Arc<Dir>,
    quota: Quota,
    /// Where it is one file: what the guest calls it, and what it is called in its directory.
    file: Option<[String; 2]>,
}

/// There is no room for what is asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("disk quota exceeded")]
struct Full;

/// What a path of the guest leads to.
enum Leads {
    /// Anywhere in the mount.
    On,
    /// To the one file that the mount is, which is called so in its directory.
    To(String),
    /// To nothing that is granted.
    Nowhere,
}

impl Disk {
    /// The mounts of a run; `None` where it has none.
    pub(super) fn new(mounts: &[Mount], quota: Quota, usage: &Usage) -> Option<Self> {
        if mounts.is_empty() {
            return None;
        }
        let usage = usage.mounts.register(mounts.iter().map(|mount| mount.guest_path.as_str()));
        let one = |mount: &Mount| OneMount {
            dir: mount.dir.clone(),
            quota: mount.quota,
            file: mount.file.clone().and_then(|own| Some([mount.guest_directory().1?.to_owned(), own])),
        };
        let mounts: Vec<_> = mounts.iter().map(one).collect();
        // Preview 1 numbers them in this order, after its three streams.
        let preopened = (0..mounts.len()).map(|mount| Some(Handle { mount, size: 0 }));
        let handles = [None; 3].into_iter().chain(preopened).collect();
        Some(Self {
            ledger: Arc::new(Ledger { quota, mounts, usage, denied: OnceLock::new(), writes: TaskTracker::new() }),
            handles,
            listing: None,
        })
    }

    /// What was denied first, if anything was.
    pub(super) fn denied(&self) -> Option<&Outcome> {
        self.ledger.denied.get()
    }

    /// What the streams of the run have sent off; see [`settled`].
    pub(super) fn writes(&self) -> TaskTracker {
        self.ledger.writes.clone()
    }

    fn handle(&self, number: u32) -> Option<Handle> {
        *self.handles.get(usize::try_from(number).ok()?)?
    }

    /// Notes to which mount a handle belongs, or that it belongs to none.
    fn set(&mut self, number: u32, handle: Option<Handle>) {
        self.listing.take_if(|listing| listing.of == number);
        let Ok(at) = usize::try_from(number) else { return };
        if at >= self.handles.len() {
            self.handles.resize(at + 1, None);
        }
        self.handles[at] = handle;
    }
}

/// Waits until the writes of a run that has stopped are done and counted, at most one second: a disk that hangs must not hold the slot.
///
/// These are the writes of streams, which a guest does not wait for. A call that a run was stopped in the middle of is the library's: its
/// thread finishes it by itself, and that may be after the end of the run.
pub(super) async fn settled(writes: &TaskTracker) {
    writes.close();
    if !writes.is_empty() {
        let _ = tokio::time::timeout(SETTLE_BOUND, writes.wait()).await;
    }
}

impl Ledger {
    /// Counts a call.
    fn operation(&self, mount: usize) {
        self.usage[mount].operations.add(1);
    }

    fn read(&self, mount: usize, bytes: u64) {
        self.usage[mount].read_bytes.add(bytes);
    }

    fn wrote(&self, mount: usize, bytes: u64) {
        self.usage[mount].written_bytes.add(bytes);
    }

    /// Takes back what was counted and then not written.
    fn unwritten(&self, mount: usize, bytes: u64) {
        self.usage[mount].written_bytes.subtract(bytes);
    }

    fn made(&self, mount: usize) {
        self.usage[mount].files_made.add(1);
    }

    /// Bytes for which there is room: on the mount itself, and in all.
    fn rooms(&self, mount: usize, room: DiskResource) -> [u64; 2] {
        let used = |usage: &MountUsage| match room {
            DiskResource::Bytes => usage.written_bytes.get(),
            DiskResource::Files => usage.files_made.get(),
        };
        let own = self.mounts[mount].quota.get(room).saturating_sub(used(&self.usage[mount]));
        let all = self.quota.get(room).saturating_sub(self.usage.iter().map(used).sum());
        [own, all]
    }

    fn room(&self, mount: usize, room: DiskResource) -> u64 {
        let [own, all] = self.rooms(mount, room);
        own.min(all)
    }

    /// How many of `asked` bytes may be written to a file that grows by `hole` bytes besides.
    fn admit(&self, mount: usize, asked: u64, hole: u64) -> Result<u64, Full> {
        let room = self.room(mount, DiskResource::Bytes).saturating_sub(hole);
        if asked > 0 && room == 0 {
            return Err(self.deny(mount, DiskResource::Bytes));
        }
        Ok(asked.min(room))
    }

    /// Notes that something was denied for want of room.
    fn deny(&self, mount: usize, room: DiskResource) -> Full {
        let [own, all] = self.rooms(mount, room);
        let (quota, mount) = if own < all {
            (self.mounts[mount].quota, Some(self.usage[mount].guest.clone()))
        } else {
            (self.quota, None)
        };
        let by = DiskLimit::Policy { limit: quota.get(room), mount };
        let _ = self.denied.set(Outcome::DiskCap { resource: room, by });
        Full
    }

    /// Where a path of the guest leads, that is relative to a directory of the mount.
    fn leads(&self, mount: usize, path: &str) -> Leads {
        match &self.mounts[mount].file {
            None => Leads::On,
            Some([shown, own]) if path == shown || path.strip_prefix("./") == Some(shown) => Leads::To(own.clone()),
            Some(_) => Leads::Nowhere,
        }
    }

    /// Whether the mount is one file, of whose directory nothing is granted.
    fn is_file(&self, mount: usize) -> bool {
        self.mounts[mount].file.is_some()
    }
}

#[cfg(test)]
mod tests;
