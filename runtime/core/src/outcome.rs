//! [`Outcome`]: every way in which a run can end.
//!
//! The set is closed, so that a client does not have to guess from an exit code whether a guest failed, was stopped, or never ran. An
//! outcome is a result, not an error: the daemon worked correctly in all of them except [`Outcome::HostError`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The guest exited. 0 is success.
    Exited { code: u8 },
    /// The guest executed an operation that WebAssembly forbids. `trap` is a stable code. `backtrace` starts with the innermost frame.
    Trapped {
        trap: String,
        message: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        backtrace: Vec<String>,
    },
    /// The run exceeded its wall-clock limit. `limit` is in seconds.
    TimedOut { limit: f64 },
    /// The run exceeded its CPU time. `limit` is in seconds.
    CpuSpent { limit: f64 },
    /// The guest was denied memory and failed. `limit` is the total bytes of all memories and tables.
    MemoryDenied { limit: u64 },
    /// The guest wrote more than `limit` bytes to one of its output streams.
    OutputCap { stream: OutputStream, limit: u64 },
    /// The guest was denied space on its mounts, and failed.
    DiskCap {
        #[serde(default, rename = "what")]
        resource: DiskResource,
        #[serde(flatten)]
        by: DiskLimit,
    },
    /// The run was cancelled.
    Cancelled { by: CancelledBy },
    /// The run was not started.
    Refused { why: String },
    /// Capstan failed, not the guest.
    HostError { message: String },
    /// The daemon stopped during the run.
    Lost,
    /// The guest was denied network access beyond `limit` connections or bytes, and failed.
    NetworkCap {
        #[serde(rename = "what")]
        resource: NetworkLimit,
        limit: u64,
    },
    /// The run used all of its fuel. `limit` is in units, about one instruction each.
    FuelSpent { limit: u64 },
}

/// An output stream of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// A limited resource of mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskResource {
    #[default]
    Bytes,
    /// Files, directories and links.
    Files,
}

/// The limit that denied space on mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DiskLimit {
    /// A limit of the policy.
    Policy {
        limit: u64,
        /// The path of the mount in the guest, if the limit applies to one mount. `None` if it applies to all mounts together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
    },
    /// The file system of the mount.
    FileSystem { file_system: FileSystemLimit, mount: String },
}

/// The reason why a file system is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSystemLimit {
    Full,
    /// A quota of the file system is used up.
    Quota,
}

/// A limited resource of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkLimit {
    /// TCP connections, and hosts that the guest sent to over UDP.
    Connections,
    /// Bytes sent and received.
    Traffic,
}

/// The party that cancelled a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    /// The client that requested it, with a call or by disconnecting.
    Client,
    /// The operator of the daemon.
    Operator,
    /// The daemon, because it is shutting down.
    Shutdown,
    /// The parent job, because it ended or was stopped.
    Parent,
    /// The schedule of the job, because it replaces the job with the next one.
    Schedule,
}

impl Outcome {
    /// A successful exit.
    pub const SUCCESS: Self = Self::Exited { code: 0 };

    /// The stable codes of all kinds.
    pub const KINDS: [&str; 13] = [
        "exited",
        "trapped",
        "timed_out",
        "cpu_spent",
        "memory_denied",
        "output_cap",
        "disk_cap",
        "cancelled",
        "refused",
        "host_error",
        "lost",
        "network_cap",
        "fuel_spent",
    ];

    /// Returns the outcome of a run that exceeded the wall-clock limit `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::TimedOut { limit: limit.as_secs_f64() }
    }

    /// Returns whether the guest exited with 0.
    pub fn is_success(&self) -> bool {
        *self == Self::SUCCESS
    }

    /// Returns the stable code of the kind, as in JSON and in the header `Capstan-Outcome`.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.kind_index()]
    }

    /// Returns the index of the kind in [`Outcome::KINDS`].
    pub fn kind_index(&self) -> usize {
        match self {
            Self::Exited { .. } => 0,
            Self::Trapped { .. } => 1,
            Self::TimedOut { .. } => 2,
            Self::CpuSpent { .. } => 3,
            Self::MemoryDenied { .. } => 4,
            Self::OutputCap { .. } => 5,
            Self::DiskCap { .. } => 6,
            Self::Cancelled { .. } => 7,
            Self::Refused { .. } => 8,
            Self::HostError { .. } => 9,
            Self::Lost => 10,
            Self::NetworkCap { .. } => 11,
            Self::FuelSpent { .. } => 12,
        }
    }

    /// Returns the exit code for a shell:
    ///
    /// | code | outcome |
    /// |---|---|
    /// | the code of the guest | exited |
    /// | 124 | timed out |
    /// | 125 | refused, lost, or Capstan failed |
    /// | 134 | trapped, as after SIGABRT |
    /// | 137 | cancelled or over a limit, as after SIGKILL |
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited { code } => *code,
            Self::TimedOut { .. } => 124,
            Self::Refused { .. } | Self::HostError { .. } | Self::Lost => 125,
            Self::Trapped { .. } => 134,
            Self::CpuSpent { .. }
            | Self::FuelSpent { .. }
            | Self::MemoryDenied { .. }
            | Self::OutputCap { .. }
            | Self::DiskCap { .. }
            | Self::NetworkCap { .. }
            | Self::Cancelled { .. } => 137,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(formatter, "exited {code}"),
            Self::Trapped { trap, message, .. } => write!(formatter, "trapped {trap}: {message}"),
            Self::TimedOut { limit } => write!(formatter, "timed out after {limit} s"),
            Self::CpuSpent { limit } => write!(formatter, "cpu budget of {limit} s spent"),
            Self::MemoryDenied { limit } => write!(
                formatter,
                "needed more memory than {limit} bytes; raise the limit with --memory, or with memory in its policy"
            ),
            Self::OutputCap { stream, limit } => write!(formatter, "{stream} cap of {limit} bytes reached"),
            Self::DiskCap { resource, by: DiskLimit::Policy { limit, mount } } => {
                write!(formatter, "disk cap of {limit} {resource}")?;
                mount.iter().try_for_each(|mount| write!(formatter, " on {mount}"))?;
                write!(formatter, " reached")
            }
            Self::DiskCap { resource, by: DiskLimit::FileSystem { file_system, mount } } => {
                write!(formatter, "no space for {resource} on {mount}: {file_system}")
            }
            Self::Cancelled { by } => write!(formatter, "cancelled by {by}"),
            Self::Refused { why } => write!(formatter, "refused: {why}"),
            Self::HostError { message } => write!(formatter, "host error: {message}"),
            Self::Lost => write!(formatter, "lost"),
            Self::NetworkCap { resource: NetworkLimit::Connections, limit } => {
                write!(formatter, "network cap of {limit} connections reached")
            }
            Self::NetworkCap { resource: NetworkLimit::Traffic, limit } => {
                write!(formatter, "network cap of {limit} bytes reached")
            }
            Self::FuelSpent { limit } => write!(formatter, "fuel of {limit} units spent"),
        }
    }
}

impl fmt::Display for OutputStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

impl fmt::Display for DiskResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bytes => "bytes",
            Self::Files => "files",
        })
    }
}

impl fmt::Display for FileSystemLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "its file system is full",
            Self::Quota => "the quota of its file system is used up",
        })
    }
}

impl fmt::Display for CancelledBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
            Self::Parent => "parent",
            Self::Schedule => "schedule",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_json_and_exit_code(outcome: &Outcome, json: &str, exit_code: u8) {
        assert_eq!(serde_json::to_string(outcome).unwrap(), json);
        assert_eq!(serde_json::from_str::<Outcome>(json).unwrap(), *outcome);
        assert!(json.contains(outcome.kind()));
        assert!(Outcome::KINDS.contains(&outcome.kind()));
        assert_eq!(outcome.exit_code(), exit_code);
    }

    #[test]
    fn every_outcome_has_stable_json_and_exit_code() {
        assert_json_and_exit_code(&Outcome::Exited { code: 255 }, r#"{"kind":"exited","code":255}"#, 255);
        assert_json_and_exit_code(
            &Outcome::timed_out(Duration::from_millis(1500)),
            r#"{"kind":"timed_out","limit":1.5}"#,
            124,
        );
        assert_json_and_exit_code(&Outcome::MemoryDenied { limit: 7 }, r#"{"kind":"memory_denied","limit":7}"#, 137);
        assert_json_and_exit_code(
            &Outcome::OutputCap { stream: OutputStream::Stderr, limit: 9 },
            r#"{"kind":"output_cap","stream":"stderr","limit":9}"#,
            137,
        );
        assert_json_and_exit_code(
            &Outcome::Cancelled { by: CancelledBy::Shutdown },
            r#"{"kind":"cancelled","by":"shutdown"}"#,
            137,
        );
        assert_json_and_exit_code(
            &Outcome::Cancelled { by: CancelledBy::Parent },
            r#"{"kind":"cancelled","by":"parent"}"#,
            137,
        );
        assert_json_and_exit_code(
            &Outcome::Cancelled { by: CancelledBy::Schedule },
            r#"{"kind":"cancelled","by":"schedule"}"#,
            137,
        );
        assert_json_and_exit_code(&Outcome::CpuSpent { limit: 1.0 }, r#"{"kind":"cpu_spent","limit":1.0}"#, 137);
        assert_json_and_exit_code(&Outcome::FuelSpent { limit: 5 }, r#"{"kind":"fuel_spent","limit":5}"#, 137);
        assert_json_and_exit_code(
            &Outcome::DiskCap { resource: DiskResource::Bytes, by: DiskLimit::Policy { limit: 1, mount: None } },
            r#"{"kind":"disk_cap","what":"bytes","limit":1}"#,
            137,
        );
        assert_json_and_exit_code(
            &Outcome::DiskCap {
                resource: DiskResource::Files,
                by: DiskLimit::Policy { limit: 2, mount: Some("/data".into()) },
            },
            r#"{"kind":"disk_cap","what":"files","limit":2,"mount":"/data"}"#,
            137,
        );
        assert_json_and_exit_code(
            &Outcome::DiskCap {
                resource: DiskResource::Bytes,
                by: DiskLimit::FileSystem { file_system: FileSystemLimit::Quota, mount: "/data".into() },
            },
            r#"{"kind":"disk_cap","what":"bytes","file_system":"quota","mount":"/data"}"#,
            137,
        );
        assert_json_and_exit_code(&Outcome::Refused { why: "no".into() }, r#"{"kind":"refused","why":"no"}"#, 125);
        assert_json_and_exit_code(
            &Outcome::HostError { message: "m".into() },
            r#"{"kind":"host_error","message":"m"}"#,
            125,
        );
        assert_json_and_exit_code(
            &Outcome::NetworkCap { resource: NetworkLimit::Traffic, limit: 5 },
            r#"{"kind":"network_cap","what":"traffic","limit":5}"#,
            137,
        );
        assert_json_and_exit_code(&Outcome::Lost, r#"{"kind":"lost"}"#, 125);
        assert_json_and_exit_code(
            &Outcome::Trapped { trap: "unreachable".into(), message: "m".into(), backtrace: vec!["f".into()] },
            r#"{"kind":"trapped","trap":"unreachable","message":"m","backtrace":["f"]}"#,
            134,
        );
    }
}
