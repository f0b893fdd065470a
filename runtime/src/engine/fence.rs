//! The fence: which jobs are going on, and whether more may start.
//!
//! Entering and closing take the same lock, so a job is either counted or refused and none slips in between the check and the
//! count, as one could in the ancestor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::handler::Role;
use crate::job::{Job, JobId};

#[derive(Debug, Default)]
pub(crate) struct Fence {
    inside: Mutex<Inside>,
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
pub(crate) struct Pass {
    fence: Arc<Fence>,
    job: JobId,
}

impl Fence {
    /// Lets `job` in, or `None` when closed.
    pub(crate) fn enter(self: &Arc<Self>, job: &Job, role: Role) -> Option<Pass> {
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
        Some(Pass { fence: self.clone(), job: job.id() })
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

    /// How much work is in flight.
    pub(crate) fn work_count(&self) -> usize {
        *self.work.borrow()
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

impl Drop for Pass {
    fn drop(&mut self) {
        self.fence.leave(self.job);
    }
}
