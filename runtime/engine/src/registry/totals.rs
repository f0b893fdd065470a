//! [`Totals`]: what all jobs of a handler have used together.

use capstan_core::outcome::Outcome;
use capstan_core::usage::{Counter, UsageReport};
use serde::Serialize;

/// The counters of a handler. They stay when its program is replaced, and go when its name is removed.
#[derive(Debug, Default)]
pub struct Totals {
    jobs: Counter,
    failed: Counter,
    run: Counter,
    cpu: Counter,
    memory_peak: Counter,
    stdin_bytes: Counter,
    stdout_bytes: Counter,
    stderr_bytes: Counter,
}

/// The counters of a handler at one moment. Times are in seconds, sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TotalsReport {
    /// The number of jobs that have ended since the daemon was started.
    pub jobs: u64,
    /// The number of jobs whose outcome was not exit 0.
    pub failed: u64,
    pub run_seconds: f64,
    pub cpu_seconds: f64,
    /// The highest memory peak of all jobs.
    pub memory_peak: u64,
    pub stdin_bytes: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
}

impl Totals {
    /// Adds a job that has ended.
    pub(crate) fn add(&self, outcome: &Outcome, usage: &UsageReport) {
        self.jobs.add(1);
        self.failed.add(u64::from(!outcome.is_success()));
        self.run.add_seconds(usage.run_seconds);
        self.cpu.add_seconds(usage.cpu_seconds);
        self.memory_peak.raise_to(usage.memory_peak);
        self.stdin_bytes.add(usage.stdin_bytes);
        self.stdout_bytes.add(usage.stdout_bytes);
        self.stderr_bytes.add(usage.stderr_bytes);
    }

    /// Returns the current counters.
    pub fn report(&self) -> TotalsReport {
        TotalsReport {
            jobs: self.jobs.get(),
            failed: self.failed.get(),
            run_seconds: self.run.time().as_secs_f64(),
            cpu_seconds: self.cpu.time().as_secs_f64(),
            memory_peak: self.memory_peak.get(),
            stdin_bytes: self.stdin_bytes.get(),
            stdout_bytes: self.stdout_bytes.get(),
            stderr_bytes: self.stderr_bytes.get(),
        }
    }
}
