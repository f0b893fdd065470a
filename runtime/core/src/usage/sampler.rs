//! How a run is sampled while it goes on: whoever carries it out offers a [`Sampler`], and whoever wants to know asks for that.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Notes what a run computes, from when it is begun until it is ended. Neither waits for the run.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// Begins to take samples. May take a while, for a program of many functions.
    ///
    /// # Errors
    /// [`SamplerError`]
    fn begin(&self) -> Result<(), SamplerError>;

    /// Ends it; gives what was noted since it was begun, as the Firefox profiler reads it (JSON).
    ///
    /// # Errors
    /// [`SamplerError`]
    fn end(&self) -> Result<Vec<u8>, SamplerError>;

    /// Ends it for nobody. Does nothing where it was not begun.
    fn abandon(&self);
}

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    #[error("samples are being taken, and for one profile at a time")]
    Begun,
    #[error("no samples are being taken")]
    NotBegun,
    #[error("cannot take samples: {0}")]
    Failed(String),
}

/// Where the sampler of a run is offered, for as long as there is one.
#[derive(Debug, Default)]
pub struct Sampling(Mutex<Option<Arc<dyn Sampler>>>);

impl Sampling {
    /// Offers `sampler`.
    pub fn offer(&self, sampler: Arc<dyn Sampler>) {
        *self.lock() = Some(sampler);
    }

    /// Takes the offer back; who has the sampler keeps it.
    pub fn withdraw(&self) {
        *self.lock() = None;
    }

    /// What is offered.
    pub fn sampler(&self) -> Option<Arc<dyn Sampler>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Sampler>>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}
