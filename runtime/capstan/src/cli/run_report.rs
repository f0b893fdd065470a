//! `RunReport`: how a run ended. The daemon sends it, `--outcome` writes it, and its messages go to stderr.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};

use capstan_core::outcome::{CancelledBy, DiskLimit, DiskResource, NetworkLimit, Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::ClientError;
use super::error::CliError;
use super::format;
use super::frames::FrameError;

/// How a run ended: its outcome, exit code and usage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunReport {
    /// The id of the job. `None` if the run failed before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<String>,
    pub(super) handler: String,
    pub(super) outcome: Outcome,
    /// The exit code of the command.
    pub(super) exit_code: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<UsageReport>,
    /// Why the run was not a success, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Fields that a newer daemon may add. They are written to the `--outcome` file unchanged.
    #[serde(flatten)]
    pub(super) other_fields: Map<String, Value>,
}

impl RunReport {
    /// Returns the report of a run that ended with `outcome`.
    pub(super) fn new(job: Option<String>, handler: &str, outcome: Outcome, usage: Option<UsageReport>) -> Self {
        let exit_code = outcome.exit_code();
        Self { job, handler: handler.to_owned(), outcome, exit_code, usage, error: None, other_fields: Map::new() }
    }

    /// Returns the report of a run that the user stopped with a signal to this command.
    pub(super) fn stopped(job: Option<String>, handler: &str) -> Self {
        Self::new(job, handler, Outcome::Cancelled { by: CancelledBy::Client }, None)
    }

    /// Returns the report of a run about which only the error is known.
    pub(super) fn failed(handler: &str, error: &CliError) -> Self {
        Self { exit_code: error.exit_code(), ..Self::new(None, handler, error.outcome(), None) }
    }

    /// Reads the JSON of an outcome frame.
    ///
    /// # Errors
    /// [`FrameError::Outcome`]
    pub(super) fn from_json(json: &[u8]) -> Result<Self, ClientError> {
        serde_json::from_slice(json).map_err(|error| FrameError::Outcome(error.to_string()).into())
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// The error of the file.
    pub(super) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        file.write_all(&json)
    }

    /// Returns the message about output that was discarded, if there was any.
    pub(super) fn truncation_message(&self) -> Option<String> {
        let UsageReport { stdout_truncated, stderr_truncated, .. } = self.usage.as_ref()?;
        let discarded: Vec<_> = [(OutputStream::Stdout, *stdout_truncated), (OutputStream::Stderr, *stderr_truncated)]
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(stream, bytes)| format!("{} of {stream}", format::size(bytes)))
            .collect();
        let discarded = discarded.join(" and ");
        (!discarded.is_empty())
            .then(|| format!("{} wrote more than its limit: {discarded} were discarded", self.handler))
    }

    /// Returns the message about the outcome. `None` if the guest exited by itself: it reports its own errors.
    pub(super) fn message(&self) -> Option<String> {
        let name = &self.handler;
        Some(match &self.outcome {
            Outcome::Exited { .. } => return None,
            Outcome::Trapped { trap, message, backtrace } => {
                let mut text = format!("{name} trapped: {message} ({trap})");
                for (depth, frame) in backtrace.iter().enumerate() {
                    write!(text, "\n{depth:>6}: {frame}").expect("writing to a String does not fail");
                }
                text
            }
            Outcome::TimedOut { limit } => format!("{name} was killed: it ran longer than {}", format::seconds(*limit)),
            Outcome::CpuSpent { limit } => {
                format!("{name} was killed: it used more CPU time than {}", format::seconds(*limit))
            }
            Outcome::FuelSpent { limit } => format!("{name} was killed: it used more than {limit} units of fuel"),
            Outcome::MemoryDenied { limit } => {
                format!(
                    "{name} failed: it needed more memory than {}; raise the limit with --memory",
                    format::size(*limit)
                )
            }
            Outcome::OutputCap { stream, limit } => {
                format!("{name} was killed: it wrote more than {} to {stream}", format::size(*limit))
            }
            Outcome::DiskCap { resource: what, by: DiskLimit::FileSystem { file_system, mount } } => {
                format!("{name} failed: there is no space for more {what} in {mount}: {file_system}")
            }
            Outcome::DiskCap { resource: what, by: DiskLimit::Policy { limit, mount } } => {
                let directory = mount.as_deref().unwrap_or("its directories");
                match what {
                    DiskResource::Bytes => {
                        format!("{name} failed: it may write no more than {} to {directory}", format::size(*limit))
                    }
                    DiskResource::Files => {
                        format!("{name} failed: it may create no more than {limit} files in {directory}")
                    }
                }
            }
            Outcome::NetworkCap { resource: NetworkLimit::Connections, limit } => {
                format!("{name} was killed: it tried to open more than {limit} connections")
            }
            Outcome::NetworkCap { resource: NetworkLimit::Traffic, limit } => {
                format!("{name} was killed: it tried to send and receive more than {}", format::size(*limit))
            }
            Outcome::Cancelled { by: CancelledBy::Client } => format!("{name} was stopped"),
            Outcome::Cancelled { by } => format!("{name} was stopped by the {}", cancelled_by(*by)),
            Outcome::Refused { why } => format!("{name} was refused: {why}"),
            Outcome::HostError { message } => format!("{name} could not continue because Capstan failed: {message}"),
            Outcome::Lost => {
                format!("{name} was lost: the connection to the daemon or the daemon itself ended during the run")
            }
        })
    }
}

fn cancelled_by(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Client => "client",
        CancelledBy::Operator => "operator",
        CancelledBy::Shutdown => "daemon, which is shutting down",
        CancelledBy::Parent => "job that started it",
        CancelledBy::Schedule => "schedule, which replaces it with the next job",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: Outcome, exit_code: u8, message: Option<&str>) {
        let report = RunReport::new(None, "wc", outcome, None);
        assert_eq!((report.exit_code, report.message().as_deref()), (exit_code, message));
    }

    #[test]
    fn every_outcome_but_exited_has_a_message() {
        check(Outcome::SUCCESS, 0, None);
        check(Outcome::Exited { code: 255 }, 255, None);
        check(Outcome::TimedOut { limit: 0.5 }, 124, Some("wc was killed: it ran longer than 500 ms"));
        check(
            Outcome::MemoryDenied { limit: 64 << 20 },
            137,
            Some("wc failed: it needed more memory than 64.0 MiB; raise the limit with --memory"),
        );
        check(
            Outcome::OutputCap { stream: OutputStream::Stderr, limit: 10 },
            137,
            Some("wc was killed: it wrote more than 10 B to stderr"),
        );
        check(
            Outcome::NetworkCap { resource: NetworkLimit::Connections, limit: 3 },
            137,
            Some("wc was killed: it tried to open more than 3 connections"),
        );
        check(Outcome::Cancelled { by: CancelledBy::Client }, 137, Some("wc was stopped"));
        check(Outcome::Refused { why: "full".into() }, 125, Some("wc was refused: full"));
        let backtrace = vec!["inner".into(), "outer".into()];
        check(
            Outcome::Trapped { trap: "unreachable".into(), message: "unreachable executed".into(), backtrace },
            134,
            Some("wc trapped: unreachable executed (unreachable)\n     0: inner\n     1: outer"),
        );
    }

    #[test]
    fn unknown_fields_of_report_are_preserved() {
        let text = r#"{"job":"00ff","handler":"wc","outcome":{"kind":"exited","code":3},"exit_code":3,"usage":{"queue_seconds":0.0,"load_seconds":0.0,"instantiate_seconds":0.0,"release_seconds":0.0,"run_seconds":0.5,"cpu_seconds":0.25,"memory_peak":1,"stdin_bytes":2,"stdout_bytes":3,"stderr_bytes":4},"node":"a"}"#;
        let report: RunReport = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
    }

    #[test]
    fn run_that_never_started_is_reported_as_refused() {
        let report = RunReport::failed("wc", &CliError::DirNeedsInProcess);
        assert_eq!((report.outcome.kind(), report.exit_code), ("refused", 125));
    }
}
