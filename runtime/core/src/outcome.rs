//! `Outcome`: every way a run can end, as plain data.
//!
//! A closed set, so that nobody has to guess from an exit code whether a guest failed, was stopped, or never ran. An outcome is a
//! result and not an error: the daemon did its work in every one of these but [`Outcome::HostError`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The guest ended by itself; 0 is success.
    Exited { code: u8 },
    /// The guest did what WebAssembly forbids. `trap` is a stable token, `backtrace` has the innermost frame first.
    Trapped {
        trap: String,
        message: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        backtrace: Vec<String>,
    },
    /// The wall clock ran out; `limit` in seconds.
    TimedOut { limit: f64 },
    /// The budget of processor time was spent; `limit` in seconds.
    CpuSpent { limit: f64 },
    /// The guest was denied memory and did not survive it; `limit` in bytes over all memories and tables.
    MemoryDenied { limit: u64 },
    /// The guest wrote more than `limit` bytes to one of its output streams.
    OutputCap { stream: OutputStream, limit: u64 },
    /// The guest was denied room on its mounts, and did not end well.
    DiskCap {
        #[serde(default)]
        what: Room,
        #[serde(flatten)]
        by: DiskLimit,
    },
    /// Somebody stopped the run.
    Cancelled { by: CancelledBy },
    /// The run was not begun.
    Refused { why: String },
    /// Capstan failed, not the guest.
    HostError { message: String },
    /// The daemon ended while the run was going on.
    Lost,
    /// The guest was denied more of the network than `limit`, connections or bytes, and did not cope with that.
    NetworkCap { what: NetworkLimit, limit: u64 },
    /// The fuel was spent; `limit` in units, about an instruction each.
    FuelSpent { limit: u64 },
}

/// An output stream of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// What there is room for on mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    #[default]
    Bytes,
    /// Files, directories and links.
    Files,
}

/// Whose limit it is that there is no room on mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DiskLimit {
    /// That of the policy.
    Policy {
        limit: u64,
        /// The mount, by the path that the guest knows, where the limit is that of one; else it is that of all together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
    },
    /// That of the file system that the mount stands on.
    FileSystem { file_system: FileSystemLimit, mount: String },
}

/// Why a file system takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSystemLimit {
    Full,
    /// A quota of its own is spent.
    Quota,
}

/// What of the network is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkLimit {
    /// Connections over TCP, and hosts sent to over UDP.
    Connections,
    /// Bytes sent and received.
    Traffic,
}

/// Who stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    /// The client that asked for it, by a call or by leaving.
    Client,
    /// The operator of the daemon.
    Operator,
    /// The daemon, because it stops.
    Shutdown,
    /// The job that started it, by being stopped or by its end.
    Parent,
}

impl Outcome {
    /// The end of a run that did what was asked.
    pub const SUCCESS: Self = Self::Exited { code: 0 };

    /// The tokens of all kinds.
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

    /// The wall clock ran out at `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::TimedOut { limit: limit.as_secs_f64() }
    }

    /// Whether the guest ended by itself with 0.
    pub fn is_success(&self) -> bool {
        *self == Self::SUCCESS
    }

    /// The stable token of the kind, as in JSON and in `Capstan-Outcome`.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.kind_index()]
    }

    /// The place of the kind in [`Outcome::KINDS`].
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

    /// What a shell sees: the guest's own code, 124 timed out, 134 trapped (as after SIGABRT), 137 stopped or over a limit (as
    /// after SIGKILL), 125 where Capstan refused or failed.
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
            Self::MemoryDenied { limit } => write!(formatter, "memory denied at {limit} bytes"),
            Self::OutputCap { stream, limit } => write!(formatter, "{stream} cap of {limit} bytes reached"),
            Self::DiskCap { what, by: DiskLimit::Policy { limit, mount } } => {
                write!(formatter, "disk cap of {limit} {what}")?;
                mount.iter().try_for_each(|mount| write!(formatter, " on {mount}"))?;
                write!(formatter, " reached")
            }
            Self::DiskCap { what, by: DiskLimit::FileSystem { file_system, mount } } => {
                write!(formatter, "no room for {what} on {mount}: {file_system}")
            }
            Self::Cancelled { by } => write!(formatter, "cancelled by {by}"),
            Self::Refused { why } => write!(formatter, "refused: {why}"),
            Self::HostError { message } => write!(formatter, "host error: {message}"),
            Self::Lost => write!(formatter, "lost"),
            Self::NetworkCap { what: NetworkLimit::Connections, limit } => {
                write!(formatter, "network cap of {limit} connections reached")
            }
            Self::NetworkCap { what: NetworkLimit::Traffic, limit } => {
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

impl fmt::Display for Room {
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
            Self::Quota => "the quota of its file system is spent",
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: &Outcome, json: &str, exit_code: u8) {
        assert_eq!(serde_json::to_string(outcome).unwrap(), json);
        assert_eq!(serde_json::from_str::<Outcome>(json).unwrap(), *outcome);
        assert!(json.contains(outcome.kind()));
        assert!(Outcome::KINDS.contains(&outcome.kind()));
        assert_eq!(outcome.exit_code(), exit_code);
    }

    #[test]
    fn every_outcome_has_its_json_and_its_exit_code() {
        check(&Outcome::Exited { code: 255 }, r#"{"kind":"exited","code":255}"#, 255);
        check(&Outcome::timed_out(Duration::from_millis(1500)), r#"{"kind":"timed_out","limit":1.5}"#, 124);
        check(&Outcome::MemoryDenied { limit: 7 }, r#"{"kind":"memory_denied","limit":7}"#, 137);
        check(
            &Outcome::OutputCap { stream: OutputStream::Stderr, limit: 9 },
            r#"{"kind":"output_cap","stream":"stderr","limit":9}"#,
            137,
        );
        check(&Outcome::Cancelled { by: CancelledBy::Shutdown }, r#"{"kind":"cancelled","by":"shutdown"}"#, 137);
        check(&Outcome::Cancelled { by: CancelledBy::Parent }, r#"{"kind":"cancelled","by":"parent"}"#, 137);
        check(&Outcome::CpuSpent { limit: 1.0 }, r#"{"kind":"cpu_spent","limit":1.0}"#, 137);
        check(&Outcome::FuelSpent { limit: 5 }, r#"{"kind":"fuel_spent","limit":5}"#, 137);
        check(
            &Outcome::DiskCap { what: Room::Bytes, by: DiskLimit::Policy { limit: 1, mount: None } },
            r#"{"kind":"disk_cap","what":"bytes","limit":1}"#,
            137,
        );
        check(
            &Outcome::DiskCap { what: Room::Files, by: DiskLimit::Policy { limit: 2, mount: Some("/data".into()) } },
            r#"{"kind":"disk_cap","what":"files","limit":2,"mount":"/data"}"#,
            137,
        );
        check(
            &Outcome::DiskCap {
                what: Room::Bytes,
                by: DiskLimit::FileSystem { file_system: FileSystemLimit::Quota, mount: "/data".into() },
            },
            r#"{"kind":"disk_cap","what":"bytes","file_system":"quota","mount":"/data"}"#,
            137,
        );
        check(&Outcome::Refused { why: "no".into() }, r#"{"kind":"refused","why":"no"}"#, 125);
        check(&Outcome::HostError { message: "m".into() }, r#"{"kind":"host_error","message":"m"}"#, 125);
        check(
            &Outcome::NetworkCap { what: NetworkLimit::Traffic, limit: 5 },
            r#"{"kind":"network_cap","what":"traffic","limit":5}"#,
            137,
        );
        check(&Outcome::Lost, r#"{"kind":"lost"}"#, 125);
        check(
            &Outcome::Trapped { trap: "unreachable".into(), message: "m".into(), backtrace: vec!["f".into()] },
            r#"{"kind":"trapped","trap":"unreachable","message":"m","backtrace":["f"]}"#,
            134,
        );
    }
}
