//! [`Acknowledged`]: what the daemon said was done, over all cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::watch;

use super::workload::Kind;

/// A submission, which may have been answered or not.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) kind: Kind,
    /// The request. It has a key.
    pub(super) body: Value,
}

/// What the daemon said was done.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Submissions by their keys. Those without an answer may have been made or not.
    pub(super) sent: BTreeMap<String, Submission>,
    /// The key of each job that was acknowledged, by id.
    pub(super) jobs: BTreeMap<String, String>,
    /// Jobs whose cancellation was acknowledged.
    pub(super) cancelled: BTreeSet<String>,
    /// Jobs that have ended, as the daemon has shown them.
    pub(super) ended: BTreeMap<String, Value>,
    /// The keys of the cycles that were verified.
    pub(super) verified: BTreeSet<String>,
    /// Ends that the daemon has told a client that waited.
    pub(super) acknowledged_ends: usize,
    /// The digest of the program that was pushed last and acknowledged, and of those that were sent after it.
    pub(super) program: Option<String>,
    pub(super) programs_sent: Vec<Vec<u8>>,
    /// The jobs of the schedule, by their times.
    pub(super) firings: BTreeMap<String, String>,
}

impl Acknowledged {
    /// Returns how many attempts were lost.
    pub(super) fn lost_attempts(&self) -> usize {
        let attempts = self.ended.values().flat_map(|job| job["attempts"].as_array().expect("a job has attempts"));
        attempts.filter(|attempt| attempt["outcome"]["kind"] == "lost").count()
    }
}

/// What the daemon said, for tasks that use it at the same time. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    inner: Arc<Mutex<Acknowledged>>,
    /// How many things the daemon may still acknowledge before it is killed.
    left: Arc<watch::Sender<u64>>,
    is_done: Arc<watch::Sender<bool>>,
}

impl Default for Shared {
    fn default() -> Self {
        let (left, is_done) = (watch::Sender::new(u64::MAX), watch::Sender::new(false));
        Self { inner: Arc::default(), left: Arc::new(left), is_done: Arc::new(is_done) }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Acknowledged> {
        self.inner.lock().unwrap()
    }

    pub(super) fn take(&self) -> Acknowledged {
        std::mem::take(&mut self.lock())
    }

    /// Begins a cycle, in which the daemon is killed once it has acknowledged `most` things.
    pub(super) fn begin(&self, most: u64) {
        self.left.send_replace(most);
        self.is_done.send_replace(false);
    }

    /// Notes something that was acknowledged.
    pub(super) fn note(&self, note: impl FnOnce(&mut Acknowledged)) {
        note(&mut self.lock());
        self.left.send_modify(|left| *left = left.saturating_sub(1));
    }

    /// Waits until the daemon is to be killed.
    pub(super) async fn until_most(&self) {
        self.left.subscribe().wait_for(|left| *left == 0).await.expect("the sender is here");
    }

    /// Notes that the workload is done.
    pub(super) fn finish(&self) {
        self.is_done.send_replace(true);
    }

    pub(super) async fn until_done(&self) {
        self.is_done.subscribe().wait_for(|is_done| *is_done).await.expect("the sender is here");
    }
}
