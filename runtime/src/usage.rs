//! `Usage`: what a run used, counted while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Counters of one run, written by the sandbox and read by anyone at any time.
#[derive(Debug, Default)]
pub struct Usage {
    pub memory_peak: Counter,
    pub stdin_bytes: Counter,
    pub stdout_bytes: Counter,
    pub stderr_bytes: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The counters at one moment. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Seconds from start to end, or to now.
    pub run_seconds: f64,
    /// The most memory and table space held at a time.
    pub memory_peak: u64,
    pub stdin_bytes: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
}

impl Usage {
    /// The counters now, for a run that has been going on for `run_seconds`.
    pub fn report(&self, run_seconds: f64) -> UsageReport {
        UsageReport {
            run_seconds,
            memory_peak: self.memory_peak.get(),
            stdin_bytes: self.stdin_bytes.get(),
            stdout_bytes: self.stdout_bytes.get(),
            stderr_bytes: self.stderr_bytes.get(),
        }
    }
}

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Raises the counter to `level` where it is below.
    pub fn raise(&self, level: u64) {
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
