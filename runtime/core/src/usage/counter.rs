//! [`Counter`]: one atomic number of a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A counter that any thread can update and read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Subtracts an amount that was added for an operation that then failed.
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Adds a duration in nanoseconds.
    pub fn add_time(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a number of seconds, in nanoseconds. A number that is not a valid duration adds nothing.
    pub fn add_seconds(&self, seconds: f64) {
        self.add_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    /// Raises the counter to `level` if it is lower.
    pub fn raise_to(&self, level: u64) {
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// Returns the current number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the current number of nanoseconds as a duration.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }

    /// Returns the current number of nanoseconds in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.time().as_secs_f64()
    }
}
