//! `Usage`: what a run used, counted while it runs.

mod last_stderr;
mod mounts;
mod network;
mod sampler;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::last_stderr::LastStderr;
pub use self::mounts::{MountReport, MountUsage, MountsUsage};
pub use self::network::{DenialReport, NetworkReport, NetworkUsage, PeerReport, PeerUsage, Traffic};
pub use self::sampler::{Sampler, SamplerError, Sampling};

/// Counters of one run, written by the engine and the sandbox and read by anyone at any time. Times are kept in nanoseconds.
#[derive(Debug, Default)]
pub struct Usage {
    /// Waiting for a slot.
    pub queue: Counter,
    /// Loading the program, for the first run after a start.
    pub load: Counter,
    /// Making the instance.
    pub instantiate: Counter,
    /// Giving its memory and its slots back, when it had stopped.
    pub release: Counter,
    /// Computing, on whatever threads it was.
    pub cpu: Counter,
    pub memory_peak: Counter,
    pub stdin_bytes: Counter,
    pub stdout_bytes: Counter,
    pub stderr_bytes: Counter,
    /// Bytes that were thrown away since they were beyond what may be printed.
    pub stdout_truncated: Counter,
    pub stderr_truncated: Counter,
    /// Fuel, counted at the end of a run that has a limit on it.
    pub fuel: Counter,
    /// The end of what it wrote to stderr.
    pub complaint: LastStderr,
    /// What it did on its mounts.
    pub mounts: MountsUsage,
    /// What can be learned of where its processor time goes.
    pub sampling: Sampling,
    /// Whom it has spoken to over the network.
    pub network: NetworkUsage,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The counters at one moment. Times in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageReport {
    /// From being asked for to having a slot.
    pub queue_seconds: f64,
    /// Loading the program; 0 where it was loaded before.
    pub load_seconds: f64,
    /// Making the instance, a part of the run.
    pub instantiate_seconds: f64,
    /// Giving its memory and its slots back when it had stopped, a part of the run.
    pub release_seconds: f64,
    /// From having a slot to the end, or to now.
    pub run_seconds: f64,
    /// Processor time of the guest and its host calls.
    pub cpu_seconds: f64,
    /// The most memory and table space held at a time.
    pub memory_peak: u64,
    pub stdin_bytes: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// What was done on each mount; absent where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountReport>,
    /// Absent where it has asked for nothing of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkReport>>,
    /// Bytes of stdout beyond its limit that were thrown away; not told where there are none.
    #[serde(skip_serializing_if = "is_none")]
    pub stdout_truncated: u64,
    /// The same of stderr.
    #[serde(skip_serializing_if = "is_none")]
    pub stderr_truncated: u64,
    /// Units of fuel; not told where they were not counted.
    #[serde(skip_serializing_if = "is_none")]
    pub fuel: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference to the field")]
fn is_none(amount: &u64) -> bool {
    *amount == 0
}

impl Usage {
    /// The counters now, for a run that has been going on for `running`.
    pub fn report(&self, running: Duration) -> UsageReport {
        UsageReport {
            queue_seconds: self.queue.seconds(),
            load_seconds: self.load.seconds(),
            instantiate_seconds: self.instantiate.seconds(),
            release_seconds: self.release.seconds(),
            run_seconds: running.as_secs_f64(),
            cpu_seconds: self.cpu.seconds(),
            memory_peak: self.memory_peak.get(),
            stdin_bytes: self.stdin_bytes.get(),
            stdout_bytes: self.stdout_bytes.get(),
            stderr_bytes: self.stderr_bytes.get(),
            mounts: self.mounts.report(),
            network: self.network.report(),
            stdout_truncated: self.stdout_truncated.get(),
            stderr_truncated: self.stderr_truncated.get(),
            fuel: self.fuel.get(),
        }
    }
}

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes back what was added and did not come about.
    pub fn take_back(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Adds a time, as nanoseconds.
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a time in seconds, as nanoseconds; what is no time adds nothing.
    pub fn add_seconds(&self, seconds: f64) {
        self.add_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    /// Raises the counter to `level` where it is below.
    pub fn raise(&self, level: u64) {
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number now, of a counter of time.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }

    fn seconds(&self) -> f64 {
        self.time().as_secs_f64()
    }
}
