//! [`Watchers`]: tell those who wait that jobs have changed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use capstan_core::outcome::Outcome;
use tokio::sync::{Notify, broadcast, watch};

use super::record::{JobRecord, State};
use crate::handler::HandlerName;
use crate::job::JobId;

/// Changes that a slow reader of all jobs may be behind.
const BACKLOG: usize = 4096;

/// A change of a job, which is on the disk by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub job: JobId,
    /// What it is now. `None` if the job was removed, or only its output has grown.
    pub state: Option<ChangedState>,
}

/// The state that a job has since a change.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedState {
    pub state: State,
    /// `None` if the record of the job is damaged.
    pub handler: Option<HandlerName>,
    /// The number of the last attempt; 0 before the first.
    pub attempt: u32,
    /// How the job ended, if it has.
    pub outcome: Option<Outcome>,
}

/// Called with all changes of a commit, before anybody else learns of them. It must not block.
pub type Listener = Box<dyn Fn(&[Change]) + Send + Sync>;

/// Those who wait for changes. Clones are the same set. A store notifies it after each commit.
#[derive(Clone, Debug)]
pub struct Watchers(Arc<Inner>);

struct Inner {
    listener: OnceLock<Listener>,
    /// Notified when there may be something to claim.
    claimable: Notify,
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
        Self(Arc::new(Inner {
            listener: OnceLock::new(),
            claimable: Notify::new(),
            all: broadcast::Sender::new(BACKLOG),
            jobs: Mutex::default(),
        }))
    }
}

impl Change {
    /// Returns the change of `job` to what it is now.
    pub fn of(job: &JobRecord) -> Self {
        let (handler, outcome) = (Some(job.handler.clone()), job.end.as_ref().map(|end| end.outcome.clone()));
        Self { job: job.id, state: Some(ChangedState { state: job.state, handler, attempt: job.attempt, outcome }) }
    }

    /// Returns the change of a job that was removed, or whose output has grown.
    pub fn without_state(job: JobId) -> Self {
        Self { job, state: None }
    }

    fn may_be_claimable(&self) -> bool {
        matches!(&self.state, Some(ChangedState { state: State::Queued | State::Scheduled | State::Retrying, .. }))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watchers").finish_non_exhaustive()
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

    /// Sets who is told first. Only the first call has an effect.
    pub fn set_listener(&self, listener: Listener) {
        let _ = self.0.listener.set(listener);
    }

    /// Waits until a job may be claimable that was not before, or one comes due at another time. One caller waits at a time. Cancel-safe: what
    /// happens between two calls ends the second at once.
    pub async fn claimable(&self) {
        self.0.claimable.notified().await;
    }

    /// Ends the wait of [`Watchers::claimable`], because more can be claimed than before.
    pub fn wake_worker(&self) {
        self.0.claimable.notify_one();
    }

    /// Tells everybody about `changes`.
    pub fn notify(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        if let Some(listener) = self.0.listener.get() {
            listener(changes);
        }
        if changes.iter().any(Change::may_be_claimable) {
            self.wake_worker();
        }
        if self.0.all.receiver_count() > 0 {
            for change in changes {
                // Without readers nothing is missed.
                let _ = self.0.all.send(change.clone());
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
