//! The mounts of a run: their quotas, what the run did on them, and which mount each handle of the guest belongs to.
//!
//! wasmtime-wasi has no hook for this. So Capstan puts its own functions in front of all of preview 1 and all of `wasi:filesystem` 0.2: they
//! check what the guest requests, pass on what the quota has room for, and count the result. A run without mounts has no [`Disk`], and pays
//! only for checking an `Option`.
//!
//! Bytes count when they are written, and a file that grows in another way counts for its growth. Nothing is subtracted later. So a run
//! never leaves more behind than what was counted, no matter what it overwrites, truncates or removes.

mod dir_stream;
mod filesystem;
mod host_fs_errors;
mod ledger;
mod preview1;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capstan_core::mount::{Mount, Quota};
use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use tokio_util::task::TaskTracker;

use self::dir_stream::DirStream;
pub(super) use self::filesystem::{HasFilesystem, filesystem};
use self::ledger::Ledger;
pub(super) use self::preview1::add_to_linker;

/// How long the end of a run waits for writes that are still in progress.
const WRITES_TIMEOUT: Duration = Duration::from_secs(1);

/// The mounts of one run.
pub(super) struct Disk {
    ledger: Arc<Ledger>,
    /// Indexed by the number of a descriptor in preview 1, or of a resource in 0.2. Both reuse free numbers, so the limit on handles bounds
    /// the length.
    handles: Vec<Option<Handle>>,
    /// The directories that are being listed in preview 1, by descriptor.
    dir_streams: BTreeMap<u32, DirStream>,
}

/// A handle of the guest to a file or a directory on a mount.
#[derive(Clone, Copy, Debug)]
struct Handle {
    /// The index of the mount.
    mount: usize,
    /// The size that the file has at least, as far as this run knows.
    size: u64,
    /// In preview 1, the number of the resource behind a descriptor that the guest has opened.
    resource: Option<u32>,
}

impl Disk {
    /// Creates the state for `mounts`, or returns `None` if there are none. `quota` applies to all of them together. What the run does is
    /// counted in `usage`.
    pub(super) fn new(mounts: &[Mount], quota: Quota, usage: &Usage) -> Option<Self> {
        if mounts.is_empty() {
            return None;
        }
        // Preview 1 numbers the mounts in this order, after the three standard streams.
        let preopened = (0..mounts.len()).map(|mount| Some(Handle { mount, size: 0, resource: None }));
        let handles = [None; 3].into_iter().chain(preopened).collect();
        Some(Self { ledger: Arc::new(Ledger::new(mounts, quota, usage)), handles, dir_streams: BTreeMap::new() })
    }

    /// Returns the outcome for the first request that was denied, if any.
    pub(super) fn denied(&self) -> Option<&Outcome> {
        self.ledger.denied()
    }

    /// Returns the tracker of the writes that streams have started, for [`wait_for_writes`].
    pub(super) fn writes(&self) -> TaskTracker {
        self.ledger.writes.clone()
    }

    fn handle(&self, number: u32) -> Option<Handle> {
        *self.handles.get(usize::try_from(number).ok()?)?
    }

    /// Records which mount the handle `number` belongs to, or with `None` that it belongs to no mount or is closed.
    fn set_handle(&mut self, number: u32, handle: Option<Handle>) {
        if handle.is_none_or(|handle| handle.resource != self.handle(number).and_then(|known| known.resource)) {
            self.dir_streams.remove(&number);
        }
        let Ok(index) = usize::try_from(number) else { return };
        if index >= self.handles.len() {
            self.handles.resize(index + 1, None);
        }
        self.handles[index] = handle;
    }
}

/// Waits until the writes of a run that has stopped are finished and counted, but at most one second: a disk that hangs must not occupy the
/// slot of the run.
///
/// These are the writes of streams, which a guest does not wait for. If a run is stopped during a call, the thread of wasmtime-wasi
/// finishes the call on its own, which may be after the end of the run.
pub(super) async fn wait_for_writes(writes: &TaskTracker) {
    writes.close();
    if !writes.is_empty() {
        let _ = tokio::time::timeout(WRITES_TIMEOUT, writes.wait()).await;
    }
}

#[cfg(test)]
mod tests;
