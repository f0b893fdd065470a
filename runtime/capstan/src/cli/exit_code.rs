//! `Ending`: how a run ended, as the daemon tells it, as `--outcome` writes it, and as a person reads it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};

use capstan_core::outcome::{CancelledBy, DiskLimit, DiskResource, NetworkLimit, Outcome, OutputStream};
use capstan_core::usage::UsageReport;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::CliError;
use super::show;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    /// The job, where it got as far as having an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<String>,
    pub(super) handler: String,
    pub(super) outcome: Outcome,
    /// What the command exits with.
    pub(super) exit_code: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<UsageReport>,
    /// Why it was no success, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What a later daemon may tell besides.
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Ending {
    /// A run that ended with `outcome`.
    pub(super) fn new(job: Option<String>, handler: &str, outcome: Outcome, usage: Option<UsageReport>) -> Self {
        let exit_code = outcome.exit_code();
        Self { job, handler: handler.to_owned(), outcome, exit_code, usage, error: None, rest: Map::new() }
    }

    /// A run that the user stopped from here.
    pub(super) fn stopped(job: Option<String>, handler: &str) -> Self {
        Self::new(job, handler, Outcome::Cancelled { by: CancelledBy::Client }, None)
    }

    /// A run of which nothing came but an error.
    pub(super) fn failed(handler: &str, error: &CliError) -> Self {
        Self { exit_code: error.exit_code(), ..Self::new(None, handler, error.outcome(), None) }
    }

    /// Writes all of it as JSON.
    ///
    /// # Errors
    /// What the file says.
    pub(super) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        file.write_all(&json)
    }

    /// What a person is told of output that was thrown away.
    pub(super) fn truncated(&self) -> Option<String> {
        let UsageReport { stdout_truncated, stderr_truncated, .. } = self.usage.as_ref()?;
        let lost: Vec<_> = [(OutputStream::Stdout, *stdout_truncated), (OutputStream::Stderr, *stderr_truncated)]
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(stream, bytes)| format!("{} of its {stream}", show::size(bytes)))
            .collect();
        let lost = lost.join(" and ");
        (!lost.is_empty()).then(|| format!("{} printed more than it may: {lost} were thrown away", self.handler))
    }

    /// What a person is told of it: nothing where the guest ended by itself, since it has said what it had to say.
    pub(super) fn message(&self) -> Option<String> {
        let name = &self.handler;
        Some(match &self.outcome {
            Outcome::Exited { .. } => return None,
            Outcome::Trapped { trap, message, backtrace } => {
                let mut text = format!("{name} trapped: {message} ({trap})");
                for (depth, frame) in backtrace.iter().enumerate() {
                    write!(text, "\n{depth:>6}: {frame}").expect("a String takes everything");
                }
                text
            }
            Outcome::TimedOut { limit } => format!("{name} was killed: it ran longer than {}", show::seconds(*limit)),
            Outcome::CpuSpent { limit } => {
                format!("{name} was killed: it took more than {} of processor time", show::seconds(*limit))
            }
            Outcome::FuelSpent { limit } => format!("{name} was killed: it took more than {limit} units of fuel"),
            Outcome::MemoryDenied { limit } => {
                format!("{name} was killed: it wanted more memory than {}", show::size(*limit))
            }
            Outcome::OutputCap { stream, limit } => {
                format!("{name} was killed: it wrote more than {} to {stream}", show::size(*limit))
            }
            Outcome::DiskCap { resource: what, by: DiskLimit::FileSystem { file_system, mount } } => {
                format!("{name} failed: there is no room for more {what} in {mount}: {file_system}")
            }
            Outcome::DiskCap { resource: what, by: DiskLimit::Policy { limit, mount } } => {
                let place = mount.as_deref().unwrap_or("its directories");
                match what {
                    DiskResource::Bytes => {
                        format!("{name} failed: it may write no more than {} to {place}", show::size(*limit))
                    }
                    DiskResource::Files => format!("{name} failed: it may make no more than {limit} files in {place}"),
                }
            }
            Outcome::NetworkCap { resource: NetworkLimit::Connections, limit } => {
                format!("{name} was killed: it wanted more than {limit} connections")
            }
            Outcome::NetworkCap { resource: NetworkLimit::Traffic, limit } => {
                format!("{name} was killed: it wanted to send and receive more than {}", show::size(*limit))
            }
            Outcome::Cancelled { by: CancelledBy::Client } => format!("{name} was stopped"),
            Outcome::Cancelled { by } => format!("{name} was stopped by the {}", cancelled_by(*by)),
            Outcome::Refused { why } => format!("{name} was refused: {why}"),
            Outcome::HostError { message } => format!("{name} could not go on, by no fault of its own: {message}"),
            Outcome::Lost => format!("{name} was lost: the daemon ended while it ran"),
        })
    }
}

fn cancelled_by(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Client => "client",
        CancelledBy::Operator => "operator",
        CancelledBy::Shutdown => "daemon, which shuts down",
        CancelledBy::Parent => "job that started it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: Outcome, exit_code: u8, message: Option<&str>) {
        let ending = Ending::new(None, "wc", outcome, None);
        assert_eq!((ending.exit_code, ending.message().as_deref()), (exit_code, message));
    }

    #[test]
    fn every_end_that_is_not_the_guests_own_is_told() {
        check(Outcome::SUCCESS, 0, None);
        check(Outcome::Exited { code: 255 }, 255, None);
        check(Outcome::TimedOut { limit: 0.5 }, 124, Some("wc was killed: it ran longer than 500 ms"));
        check(
            Outcome::MemoryDenied { limit: 64 << 20 },
            137,
            Some("wc was killed: it wanted more memory than 64.0 MiB"),
        );
        check(
            Outcome::OutputCap { stream: OutputStream::Stderr, limit: 10 },
            137,
            Some("wc was killed: it wrote more than 10 B to stderr"),
        );
        check(
            Outcome::NetworkCap { resource: NetworkLimit::Connections, limit: 3 },
            137,
            Some("wc was killed: it wanted more than 3 connections"),
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
    fn what_the_daemon_tells_is_kept_whole() {
        let text = r#"{"job":"00ff","handler":"wc","outcome":{"kind":"exited","code":3},"exit_code":3,"usage":{"queue_seconds":0.0,"load_seconds":0.0,"instantiate_seconds":0.0,"release_seconds":0.0,"run_seconds":0.5,"cpu_seconds":0.25,"memory_peak":1,"stdin_bytes":2,"stdout_bytes":3,"stderr_bytes":4},"node":"a"}"#;
        let ending: Ending = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&ending).unwrap(), text);
    }

    #[test]
    fn a_run_that_never_began_is_a_refused_one() {
        let ending = Ending::failed("wc", &CliError::NoDirectories);
        assert_eq!((ending.outcome.kind(), ending.exit_code), ("refused", 125));
    }
}
