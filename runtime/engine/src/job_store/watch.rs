//! [`Watchers`]: tell those who wait that jobs have changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, watch};

use super::record::State;
use crate::job::JobId;

/// Changes that a slow reader of all jobs may be behind.
const BACKLOG: usize = 4096;

/// A change of a job, which is on the disk by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub job: JobId,
    /// The new state. `None` if the job was removed, or only its output has grown.
    pub state: Option<State>,
}

/// Those who wait for changes. Clones are the same set. A store notifies it after each commit.
#[derive(Clone, Debug)]
pub struct Watchers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: broadcast::Sender<Change>,
    jobs: Mutex<HashMap<JobId, watch::Sender<()>>>,
}

/// Waits for changes of one job.
#[derive(Debug)]
pub struct JobWatch {
    job: JobId,
    changes: watch::Receiver<()>,
    watchers: Watchers,
}

/// Reads the changes of all jobs.
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Change>);

impl Default for Watchers {
    fn default() -> Self {
        Self(Arc::new(Inner { all: broadcast::Sender::new(BACKLOG), jobs: Mutex::default() }))
    }
}

impl Watchers {
    /// Returns a watch of `job`. Read the job after this call, and again after each change.
    pub fn job(&self, job: JobId) -> JobWatch {
        let mut jobs = self.lock();
        let changes = jobs.entry(job).or_insert_with(|| watch::Sender::new(())).subscribe();
        JobWatch { job, changes, watchers: self.clone() }
    }

    /// Returns the changes of all jobs from now on.
    pub fn all(&self) -> Changes {
        Changes(self.0.all.subscribe())
    }

    /// Tells everybody about `changes`.
    pub fn notify(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        if self.0.all.receiver_count() > 0 {
            for change in changes {
                // Without readers nothing is missed.
                let _ = self.0.all.send(*change);
            }
        }
        let jobs = self.lock();
        if jobs.is_empty() {
            return;
        }
        for change in changes {
            if let Some(sender) = jobs.get(&change.job) {
                sender.send_replace(());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.0.jobs.lock().expect("no panic while the lock is held")
    }
}

impl JobWatch {
    /// Waits for the next change since the watch was made or since the last call. Cancel-safe.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watch.
        let _ = self.changes.changed().await;
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut jobs = self.watchers.lock();
        // This watch is the last one.
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            jobs.remove(&self.job);
        }
    }
}

impl Changes {
    /// Returns the next change, or how many were missed because this reader was too slow. `None` if the store was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Change, u64>> {
        match self.0.recv().await {
            Ok(change) => Some(Ok(change)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
