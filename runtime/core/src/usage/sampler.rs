//! [`Sampler`]: records where a running guest spends its CPU time. The sandbox provides it in a [`SamplerSlot`].

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Records the stacks of a run between [`start`](Sampler::start) and [`finish`](Sampler::finish). Neither waits for the run.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// Starts to take samples. Takes time in proportion to the number of functions of the program, so call it where blocking is allowed.
    ///
    /// # Errors
    /// [`SamplerError::AlreadyStarted`], [`SamplerError::Failed`]
    fn start(&self) -> Result<(), SamplerError>;

    /// Stops and returns the samples since the start, in the JSON format of the Firefox profiler.
    ///
    /// # Errors
    /// [`SamplerError::NotStarted`], [`SamplerError::Failed`]
    fn finish(&self) -> Result<Vec<u8>, SamplerError>;

    /// Stops and discards the samples. Does nothing if the sampler was not started.
    fn cancel(&self);
}

/// There is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    #[error("another profile of this run is being taken; try again when it has ended")]
    AlreadyStarted,
    #[error("no profile is being taken")]
    NotStarted,
    #[error("cannot take samples: {0}")]
    Failed(String),
}

/// Holds the sampler of a run, if the run has one.
#[derive(Debug, Default)]
pub struct SamplerSlot(Mutex<Option<Arc<dyn Sampler>>>);

impl SamplerSlot {
    /// Puts `sampler` into the slot.
    pub fn set(&self, sampler: Arc<dyn Sampler>) {
        *self.lock() = Some(sampler);
    }

    /// Empties the slot. Existing references to the sampler stay valid.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    /// Returns the sampler in the slot.
    pub fn get(&self) -> Option<Arc<dyn Sampler>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Sampler>>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}
