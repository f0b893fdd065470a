//! [`InFlight`]: which jobs are in flight, and whether more may start.
//!
//! Entering and closing take the same lock. So a job is either counted or rejected, and none gets in between the check and the count, as one
//! could in the ancestor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::handler::Role;
use crate::job::{Job, JobId};

#[derive(Debug, Default)]
pub(super) struct InFlight {
    jobs: Mutex<Jobs>,
    /// The number of work jobs in flight that have not ended.
    running: AtomicUsize,
    /// The number of work jobs in flight, for those who wait until there are none.
    work_count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Jobs {
    is_closed: bool,
    work: HashMap<JobId, Job>,
    services: HashMap<JobId, Job>,
}

/// Keeps one job in flight. Dropping it removes the job.
#[derive(Debug)]
pub(super) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    job: JobId,
    /// Whether the job is counted in [`InFlight::running`].
    is_running: bool,
}

impl InFlight {
    /// Lets `job` in, or returns `None` if new jobs are rejected.
    pub(super) fn enter(self: &Arc<Self>, job: &Job, role: Role) -> Option<InFlightGuard> {
        let mut jobs = self.lock();
        match role {
            // Queries are answered at any time, and nobody waits for them.
            Role::Query => None,
            // A child is part of the work of its parent, which may finish.
            _ if jobs.is_closed && !job.parent().is_some_and(|parent| jobs.work.contains_key(&parent)) => return None,
            Role::Work => jobs.work.insert(job.id(), job.clone()),
            Role::Service => jobs.services.insert(job.id(), job.clone()),
        };
        self.work_count.send_replace(jobs.work.len());
        let is_running = role == Role::Work;
        self.running.fetch_add(usize::from(is_running), Ordering::Relaxed);
        Some(InFlightGuard { in_flight: self.clone(), job: job.id(), is_running })
    }

    /// Rejects new jobs from now on. Returns `false` if they were rejected already.
    pub(super) fn close(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_closed, true)
    }

    /// Returns whether new jobs are rejected.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Returns the work jobs in flight.
    pub(super) fn work(&self) -> Vec<Job> {
        self.lock().work.values().cloned().collect()
    }

    /// Returns the services that run.
    pub(super) fn services(&self) -> Vec<Job> {
        self.lock().services.values().cloned().collect()
    }

    /// Returns the number of work jobs that have not ended. A job that has ended is not counted, even if it is still in flight.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits until no work is in flight. Cancel-safe.
    pub(super) async fn wait_until_idle(&self) {
        let mut work_count = self.work_count.subscribe();
        work_count.wait_for(|count| *count == 0).await.expect("`self` holds the sender");
    }

    fn leave(&self, job: JobId) {
        let mut jobs = self.lock();
        if jobs.work.remove(&job).is_none() {
            jobs.services.remove(&job);
        }
        self.work_count.send_replace(jobs.work.len());
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no panic while the lock is held")
    }
}

impl InFlightGuard {
    /// Stops counting the job as running. Called before anybody can see its end.
    pub(super) fn set_ended(&mut self) {
        if std::mem::take(&mut self.is_running) {
            self.in_flight.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.set_ended();
        self.in_flight.leave(self.job);
    }
}
