//! Admission: how many runs go on at a time, and how many may wait for their turn.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Config;
use crate::handler::Role;
use crate::job::StartError;

#[derive(Debug)]
pub(super) struct Admission {
    runs: Arc<Semaphore>,
    places: Arc<Semaphore>,
    config: Config,
}

/// What a job was given when it came.
#[derive(Debug)]
pub(super) enum Ticket {
    /// It needs no slot.
    Free,
    /// A slot.
    Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
    /// A place in the queue, first come first served.
    Place(OwnedSemaphorePermit),
}

impl Admission {
    pub(super) fn new(config: Config) -> Self {
        Self { runs: Arc::new(Semaphore::new(config.runs)), places: Arc::new(Semaphore::new(config.queue)), config }
    }

    /// A slot if one is free, else a place in the queue if one is.
    pub(super) fn ticket(&self, role: Role) -> Result<Ticket, StartError> {
        if role != Role::Work {
            return Ok(Ticket::Free);
        }
        if let Ok(slot) = self.runs.clone().try_acquire_owned() {
            return Ok(Ticket::Slot(slot));
        }
        let place = self.places.clone().try_acquire_owned();
        place.map(Ticket::Place).map_err(|_| StartError::Busy { runs: self.config.runs, queue: self.config.queue })
    }

    /// Waits for a slot. Cancel-safe: giving up leaves the queue.
    pub(super) async fn turn(&self, place: OwnedSemaphorePermit) -> Ticket {
        let slot = self.runs.clone().acquire_owned().await.expect("the semaphore is never closed");
        drop(place);
        Ticket::Slot(slot)
    }

    /// Slots that nobody has.
    pub(super) fn free(&self) -> usize {
        self.runs.available_permits()
    }

    /// Jobs that wait.
    pub(super) fn queued(&self) -> usize {
        self.config.queue - self.places.available_permits()
    }
}
