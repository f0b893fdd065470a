//! [`StdinInMemory`]: counts the stdin that running jobs hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::notified;

/// The bytes of stdin that running jobs hold. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct StdinInMemory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: AtomicU64,
    /// Notified when there are less.
    less: Notify,
}

/// Counts the stdin of one job until it is dropped.
#[derive(Debug)]
pub(super) struct HeldStdin(StdinInMemory, u64);

impl StdinInMemory {
    /// Counts the stdin of a job.
    pub(super) fn hold(&self, bytes: usize) -> HeldStdin {
        self.0.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        HeldStdin(self.clone(), bytes as u64)
    }

    /// Returns the bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::SeqCst)
    }

    /// Waits until there are less than `limit`. Cancel-safe.
    pub(super) async fn wait_below(&self, limit: u64) {
        notified::wait_for(&self.0.less, || (self.bytes() < limit).then_some(())).await;
    }
}

impl Drop for HeldStdin {
    fn drop(&mut self) {
        self.0.0.bytes.fetch_sub(self.1, Ordering::SeqCst);
        self.0.0.less.notify_waiters();
    }
}
