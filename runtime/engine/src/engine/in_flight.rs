//! The fence: which jobs are going on, and whether more may start.
//!
//! Entering and closing take the same lock, so a job is either counted or refused and none slips in between the check and the
//! count, as one could in the ancestor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::handler::Role;
use crate::job::{Job, JobId};

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    inside: Mutex<Inside>,
    /// Of the work in flight, how much has not ended.
    going: AtomicUsize,
    /// How much work is in flight, for those who wait.
    work: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inside {
    closed: bool,
    work: HashMap<JobId, Job>,
    services: HashMap<JobId, Job>,
}

/// The presence of one job; dropping it takes the job out.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    fence: Arc<InFlight>,
    job: JobId,
    /// Whether it is counted among what is going on.
    goes_on: bool,
}

impl InFlight {
    /// Lets `job` in, or `None` when closed.
    pub(crate) fn enter(self: &Arc<Self>, job: &Job, role: Role) -> Option<InFlightGuard> {
        let mut inside = self.inside.lock().expect("no panic while the lock is held");
        match role {
            // A question is answered at any time, and nobody waits for it.
            Role::Query => None,
            // A child is part of the work of its parent, which may finish.
            _ if inside.closed && !job.parent().is_some_and(|parent| inside.work.contains_key(&parent)) => return None,
            Role::Work => inside.work.insert(job.id(), job.clone()),
            Role::Service => inside.services.insert(job.id(), job.clone()),
        };
        self.work.send_replace(inside.work.len());
        let goes_on = role == Role::Work;
        self.going.fetch_add(usize::from(goes_on), Ordering::Relaxed);
        Some(InFlightGuard { fence: self.clone(), job: job.id(), goes_on })
    }

    /// Refuses whoever comes from now on; whether it was open.
    pub(crate) fn close(&self) -> bool {
        !std::mem::replace(&mut self.inside.lock().expect("no panic while the lock is held").closed, true)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inside.lock().expect("no panic while the lock is held").closed
    }

    /// The work in flight.
    pub(crate) fn work(&self) -> Vec<Job> {
        self.inside.lock().expect("no panic while the lock is held").work.values().cloned().collect()
    }

    /// The services that run.
    pub(crate) fn services(&self) -> Vec<Job> {
        self.inside.lock().expect("no panic while the lock is held").services.values().cloned().collect()
    }

    /// How much work is going on. What has ended is not, though it may be on its way out.
    pub(crate) fn going(&self) -> usize {
        self.going.load(Ordering::Relaxed)
    }

    /// Waits until no work is in flight. Cancel-safe.
    pub(crate) async fn idle(&self) {
        let mut work = self.work.subscribe();
        work.wait_for(|count| *count == 0).await.expect("the fence holds the sender");
    }

    fn leave(&self, job: JobId) {
        let mut inside = self.inside.lock().expect("no panic while the lock is held");
        if inside.work.remove(&job).is_none() {
            inside.services.remove(&job);
        }
        self.work.send_replace(inside.work.len());
    }
}

impl InFlightGuard {
    /// Notes that the job has ended, before anybody hears of it: whoever does counts it no more.
    pub(crate) fn ended(&mut self) {
        if std::mem::take(&mut self.goes_on) {
            self.fence.going.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.ended();
        self.fence.leave(self.job);
    }
}
