//! [`Usage`]: what a run used, counted while it runs.

mod counter;
mod last_stderr;
mod mounts;
mod network;
mod sampler;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::counter::Counter;
pub use self::last_stderr::LastStderr;
pub use self::mounts::{MountReport, MountUsage, MountsUsage};
pub use self::network::{DenialReport, NetworkReport, NetworkUsage, PeerReport, PeerUsage, Traffic};
pub use self::sampler::{Sampler, SamplerError, SamplerSlot};

/// The counters of one run. The engine and the sandbox write them, and anyone may read them at any time. Times are in nanoseconds.
#[derive(Debug, Default)]
pub struct Usage {
    /// Time in the queue for a slot.
    pub queue: Counter,
    /// Time to load the program, for its first run after a start.
    pub load: Counter,
    /// Time to create the instance.
    pub instantiate: Counter,
    /// Time to release its memory and slots after it stopped.
    pub release: Counter,
    /// CPU time on all threads.
    pub cpu: Counter,
    pub memory_peak: Counter,
    pub stdin_bytes: Counter,
    pub stdout_bytes: Counter,
    pub stderr_bytes: Counter,
    /// Bytes of stdout that were discarded because they exceeded the limit.
    pub stdout_truncated: Counter,
    /// Bytes of stderr that were discarded because they exceeded the limit.
    pub stderr_truncated: Counter,
    /// Fuel, counted at the end of a run that has a fuel limit.
    pub fuel: Counter,
    /// The end of its stderr.
    pub last_stderr: LastStderr,
    /// Its operations on its mounts.
    pub mounts: MountsUsage,
    /// The sampler of its CPU time, while it is running.
    pub sampler: SamplerSlot,
    /// Its peers in the network.
    pub network: NetworkUsage,
}

/// The counters at one moment. Times are in seconds and sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageReport {
    /// From the request to the slot.
    pub queue_seconds: f64,
    /// Time to load the program. 0 if it was already loaded.
    pub load_seconds: f64,
    /// Time to create the instance. Part of the run.
    pub instantiate_seconds: f64,
    /// Time to release its memory and slots after it stopped. Part of the run.
    pub release_seconds: f64,
    /// From the slot to the end, or to now.
    pub run_seconds: f64,
    /// CPU time of the guest and its host calls.
    pub cpu_seconds: f64,
    /// The maximum of memory and table space at one time.
    pub memory_peak: u64,
    pub stdin_bytes: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// Operations on each mount. Absent without mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountReport>,
    /// Absent if the run did not request network access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkReport>>,
    /// Bytes of stdout that were discarded because they exceeded the limit. Absent if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub stdout_truncated: u64,
    /// Bytes of stderr that were discarded because they exceeded the limit. Absent if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub stderr_truncated: u64,
    /// Units of fuel. Absent if fuel was not counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub fuel: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
fn is_zero(amount: &u64) -> bool {
    *amount == 0
}

impl Usage {
    /// Returns the counters of a run that has been running for `running`.
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
