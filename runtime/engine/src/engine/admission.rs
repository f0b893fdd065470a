//! Admission: how many runs go on at a time, and how many may wait for their turn.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::concurrency::{ConcurrencyLimits, ConcurrencyPermits, wants};
use crate::handler::Role;
use crate::job::{Job, LentSlot, StartError};

#[derive(Debug)]
pub(super) struct Admission {
    runs: Arc<Semaphore>,
    places: Arc<Semaphore>,
    lanes: ConcurrencyLimits,
    most_runs: usize,
    most_queued: usize,
}

/// What a job was given when it came.
#[derive(Debug)]
pub(super) enum Ticket {
    /// It needs no slot.
    Free,
    /// A slot.
    Slot(#[expect(dead_code, reason = "held for its drop")] (OwnedSemaphorePermit, ConcurrencyPermits)),
    /// The slot of its parent.
    LentSlot(#[expect(dead_code, reason = "held for its drop")] (LentSlot, ConcurrencyPermits)),
    /// A place in the queue, first come first served.
    Place(OwnedSemaphorePermit),
}

impl Admission {
    pub(super) fn new(most_runs: usize, most_queued: usize) -> Self {
        let (runs, places) = (Arc::new(Semaphore::new(most_runs)), Arc::new(Semaphore::new(most_queued)));
        Self { runs, places, lanes: ConcurrencyLimits::default(), most_runs, most_queued }
    }

    /// A slot if one is free or lent and there is room in its lanes, else a place in the queue if one is.
    pub(super) fn ticket(&self, job: &Job) -> Result<Ticket, StartError> {
        if job.resolved().handler().role() != Role::Work {
            return Ok(Ticket::Free);
        }
        if let Some(entered) = self.lanes.try_enter(&wants(job)) {
            if let Ok(slot) = self.runs.clone().try_acquire_owned() {
                return Ok(Ticket::Slot((slot, entered)));
            }
            if let Some(lent) = job.kin().try_borrow() {
                return Ok(Ticket::LentSlot((lent, entered)));
            }
        }
        let place = self.places.clone().try_acquire_owned();
        place.map(Ticket::Place).map_err(|_| StartError::Busy { runs: self.most_runs, queue: self.most_queued })
    }

    /// Waits for room in its lanes, and then for a slot. Cancel-safe: giving up leaves the queue.
    pub(super) async fn turn(&self, job: &Job, place: OwnedSemaphorePermit) -> Ticket {
        // Who has a slot waits for no lane, so who is in its lanes gets a slot in the end.
        let entered = self.lanes.enter(&wants(job)).await;
        let ticket = tokio::select! {
            biased;
            slot = self.runs.clone().acquire_owned() => {
                Ticket::Slot((slot.expect("the semaphore is never closed"), entered))
            }
            lent = job.kin().borrow() => Ticket::LentSlot((lent, entered)),
        };
        drop(place);
        ticket
    }

    /// Slots that nobody has.
    pub(super) fn free(&self) -> usize {
        self.runs.available_permits()
    }

    /// Jobs that wait.
    pub(super) fn queued(&self) -> usize {
        self.most_queued - self.places.available_permits()
    }
}
