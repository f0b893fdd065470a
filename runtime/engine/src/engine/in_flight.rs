//! [`InFlight`]: which jobs are in flight, and whether more may start.
//!
//! Entering and closing take the same lock. So a job is either counted or rejected, and none gets in between the check and the count, as one
//! could in the ancestor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::handler::Role;
use crate::job::{Job, JobId, JobMap};
use crate::notified;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    jobs: Mutex<Jobs>,
    /// The number of work jobs that have not ended.
    running: AtomicUsize,
    /// The number of work jobs whose guard is not dropped, including those that have ended.
    work_guards: AtomicUsize,
    /// Notified when `work_guards` becomes 0.
    idle: Notify,
}

#[derive(Debug, Default)]
struct Jobs {
    is_closed: bool,
    /// Work jobs that have not ended.
    work: JobMap<Job>,
    services: JobMap<Job>,
}

/// Keeps one job in flight. Dropping it removes the job.
#[derive(Debug)]
pub(super) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    job: JobId,
    is_work: bool,
    /// Whether the job is listed and counted as running.
    is_listed: bool,
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
        let is_work = role == Role::Work;
        self.work_guards.fetch_add(usize::from(is_work), Ordering::SeqCst);
        self.running.fetch_add(usize::from(is_work), Ordering::Relaxed);
        Some(InFlightGuard { in_flight: self.clone(), job: job.id(), is_work, is_listed: true })
    }

    /// Rejects new jobs from now on. Returns `false` if they were rejected already.
    pub(super) fn close(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_closed, true)
    }

    /// Returns whether new jobs are rejected.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Returns the work jobs that have not ended.
    pub(super) fn work(&self) -> Vec<Job> {
        self.lock().work.values().cloned().collect()
    }

    /// Returns the services that have not ended.
    pub(super) fn services(&self) -> Vec<Job> {
        self.lock().services.values().cloned().collect()
    }

    /// Returns the number of work jobs that have not ended. A job that has ended is not counted, even if its guard is not dropped yet.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits until the guards of all work jobs are dropped. Cancel-safe.
    pub(super) async fn wait_until_idle(&self) {
        notified::wait_for(&self.idle, || (self.work_guards.load(Ordering::SeqCst) == 0).then_some(())).await;
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no panic while the lock is held")
    }
}

impl InFlightGuard {
    /// Stops listing the job and counting it as running. Called before anybody can see its end.
    pub(super) fn set_ended(&mut self) {
        if !std::mem::take(&mut self.is_listed) {
            return;
        }
        let mut jobs = self.in_flight.lock();
        let job = if self.is_work { jobs.work.remove(&self.job) } else { jobs.services.remove(&self.job) };
        // Drop the job without the lock.
        drop(jobs);
        drop(job);
        self.in_flight.running.fetch_sub(usize::from(self.is_work), Ordering::Relaxed);
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.set_ended();
        if self.is_work && self.in_flight.work_guards.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.in_flight.idle.notify_waiters();
        }
    }
}
