//! [`Running`]: the attempts that this process runs, and cancellations that came before their run.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use capstan_core::outcome::CancelledBy;
use tokio::sync::Notify;

use crate::job::{Job, JobId};
use crate::job_store::Lease;
use crate::notified;

/// The attempts that this process runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    state: Mutex<State>,
    /// Notified when an attempt that was claimed has a run, or never will.
    started: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts that were claimed and have no run yet.
    claimed: HashSet<Lease>,
    runs: HashMap<JobId, (Lease, Job)>,
    /// Jobs that were claimed and cancelled before their run was added.
    cancelled: HashMap<JobId, CancelledBy>,
}

impl Running {
    /// Adds an attempt that was claimed.
    pub(super) fn claim(&self, lease: Lease) {
        self.lock().claimed.insert(lease);
    }

    /// Adds the run of an attempt, and cancels it if its job was cancelled meanwhile.
    pub(super) fn insert(&self, lease: Lease, job: &Job) {
        let mut state = self.lock();
        state.claimed.remove(&lease);
        state.runs.insert(lease.job, (lease, job.clone()));
        if let Some(by) = state.cancelled.remove(&lease.job) {
            job.cancel(by);
        }
        drop(state);
        self.started.notify_waiters();
    }

    /// Waits until each attempt that was claimed has a run or has ended. Cancel-safe.
    pub(super) async fn wait_until_started(&self) {
        notified::wait_for(&self.started, || self.lock().claimed.is_empty().then_some(())).await;
    }

    /// Removes an attempt, and its run if there is one.
    pub(super) fn remove(&self, lease: Lease) {
        let mut state = self.lock();
        state.claimed.remove(&lease);
        state.cancelled.remove(&lease.job);
        let removed = state.runs.remove(&lease.job);
        drop(state);
        drop(removed);
        self.started.notify_waiters();
    }

    /// Cancels the run of `job`, now or once it is added. Returns whether there is one.
    pub(super) fn cancel(&self, job: JobId, by: CancelledBy) -> bool {
        let mut state = self.lock();
        match state.runs.get(&job) {
            Some((_, run)) => {
                run.cancel(by);
                true
            }
            None => {
                state.cancelled.insert(job, by);
                false
            }
        }
    }

    /// Forgets a cancellation that no run has taken.
    pub(super) fn forget_cancellation(&self, job: JobId) {
        self.lock().cancelled.remove(&job);
    }

    /// Returns the run of `job`.
    pub(super) fn get(&self, job: JobId) -> Option<Job> {
        self.lock().runs.get(&job).map(|(_, job)| job.clone())
    }

    /// Returns the leases of all attempts.
    pub(super) fn leases(&self) -> Vec<Lease> {
        let state = self.lock();
        state.runs.values().map(|(lease, _)| *lease).chain(state.claimed.iter().copied()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }
}
