//! [`Admission`]: how many jobs run at a time, and how many may wait for a slot.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::concurrency::{ConcurrencyLimits, ConcurrencyPermits, groups_of};
use crate::handler::Role;
use crate::job::{Job, LentSlot, StartError};

#[derive(Debug)]
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    concurrency: ConcurrencyLimits,
    max_runs: usize,
    max_queued: usize,
}

/// What a started job holds.
#[derive(Debug)]
pub(super) enum Permit {
    /// The job needs no slot.
    NotNeeded,
    Slot(#[expect(dead_code, reason = "held for its drop")] (OwnedSemaphorePermit, ConcurrencyPermits)),
    /// The slot of the parent.
    LentSlot(#[expect(dead_code, reason = "held for its drop")] (LentSlot, ConcurrencyPermits)),
    /// A position in the queue, which is first come, first served. A durable job needs none: its own queue is bounded.
    Queued(Option<OwnedSemaphorePermit>),
}

/// A slot for a job that is not known yet.
#[derive(Debug)]
pub(crate) struct ReservedSlot(OwnedSemaphorePermit);

impl Admission {
    pub(super) fn new(max_runs: usize, max_queued: usize) -> Self {
        let (slots, queue) = (Arc::new(Semaphore::new(max_runs)), Arc::new(Semaphore::new(max_queued)));
        Self { slots, queue, concurrency: ConcurrencyLimits::default(), max_runs, max_queued }
    }

    /// Returns a slot if one is free or lent and the concurrency limits of the job allow it, or else a position in the queue.
    ///
    /// # Errors
    /// Returns [`StartError::Busy`] if the queue is full.
    pub(super) fn admit(&self, job: &Job) -> Result<Permit, StartError> {
        if job.resolved().role() != Role::Work {
            return Ok(Permit::NotNeeded);
        }
        if let Some(entered) = self.concurrency.try_enter(&groups_of(job)) {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                return Ok(Permit::Slot((slot, entered)));
            }
            if let Some(lent) = job.tree().try_borrow_slot() {
                return Ok(Permit::LentSlot((lent, entered)));
            }
        }
        let position = self.queue.clone().try_acquire_owned();
        position
            .map(|position| Permit::Queued(Some(position)))
            .map_err(|_| StartError::Busy { runs: self.max_runs, queue: self.max_queued })
    }

    /// Waits for a slot. Cancel-safe.
    pub(super) async fn reserve(&self) -> ReservedSlot {
        ReservedSlot(self.slots.clone().acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// Gives `slot` to `job`, or gives it back if concurrency limits do not allow the job to run now.
    pub(super) fn admit_reserved(&self, job: &Job, slot: ReservedSlot) -> Permit {
        match self.concurrency.try_enter(&groups_of(job)) {
            Some(entered) => Permit::Slot((slot.0, entered)),
            None => Permit::Queued(None),
        }
    }

    /// Returns the concurrency limits.
    pub(super) fn concurrency(&self) -> &ConcurrencyLimits {
        &self.concurrency
    }

    /// Waits until the concurrency limits of a queued job allow it, and then for a slot. Cancel-safe: dropping the future leaves the queue.
    pub(super) async fn wait_for_slot(&self, job: &Job, position: Option<OwnedSemaphorePermit>) -> Permit {
        // A job that has a slot never waits for a concurrency limit. So a job that the limits allow gets a slot in the end.
        let entered = self.concurrency.enter(&groups_of(job), job.recorder().is_some()).await;
        let permit = tokio::select! {
            biased;
            slot = self.slots.clone().acquire_owned() => {
                Permit::Slot((slot.expect("the semaphore is never closed"), entered))
            }
            lent = job.tree().borrow_slot() => Permit::LentSlot((lent, entered)),
        };
        drop(position);
        permit
    }

    /// Returns the number of free slots.
    pub(super) fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    /// Returns the number of jobs in the queue.
    pub(super) fn queued(&self) -> usize {
        self.max_queued - self.queue.available_permits()
    }
}
