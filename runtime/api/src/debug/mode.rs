//! `DebugMode`: the state that only a daemon in debug mode has.

#[cfg(feature = "profiling")]
use std::sync::Arc;

#[cfg(feature = "profiling")]
use tokio::sync::Semaphore;

/// Reads the numbers that the kernel has of this process, as names and values.
pub type ProcessNumbers = fn() -> Vec<(&'static str, u64)>;

/// The state of debug mode.
#[derive(Debug)]
pub(crate) struct DebugMode {
    pub(super) process_numbers: ProcessNumbers,
    /// One permit: a daemon takes one profile at a time.
    #[cfg(feature = "profiling")]
    pub(super) profiler: Arc<Semaphore>,
}

impl DebugMode {
    pub(crate) fn new(process_numbers: ProcessNumbers) -> Self {
        Self {
            process_numbers,
            #[cfg(feature = "profiling")]
            profiler: Arc::new(Semaphore::new(1)),
        }
    }
}
