//! `CliError`: why a subcommand failed, with the exit code that says so.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use capstan_core::env::EnvError;
use capstan_core::outcome::{CancelledBy, Outcome, OutputStream};
use capstan_engine::job::JobId;
use capstan_listen::tls::{FilesError, MaterialError};

use super::address::ChoiceError;
use super::client::ClientError;
use super::jobs::IdError;
use super::show::{seconds, size};

/// Capstan or the daemon failed or refused, or was called wrongly.
pub(super) const FAILED: u8 = 125;
/// There is no such handler.
pub(super) const UNKNOWN_HANDLER: u8 = 127;
/// The run was stopped.
pub(super) const KILLED: u8 = 137;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Address(#[from] ChoiceError),
    #[error(transparent)]
    TlsFiles(#[from] FilesError),
    #[error("TLS: {0}")]
    Tls(#[from] MaterialError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error("{}: {}", path.display(), sentence(source))]
    File { path: PathBuf, source: io::Error },
    #[error("{file} is not WebAssembly text: {why}")]
    Text { file: String, why: String },
    #[error("{file} is not a manifest: {why}")]
    Manifest { file: String, why: String },
    #[error("nothing names the handler; put NAME= before the file")]
    NoName,
    #[error("argument {0} is not UTF-8, which is all that guests can be given")]
    NotText(usize),
    #[error("the value of variable {0} is not UTF-8, which is all that guests can be given")]
    VariableNotText(String),
    #[error("--mount and --pass-env ask a daemon for what is its own; in process, use --dir and --env")]
    NoDaemonToGrant,
    #[error("this daemon grants no directories; run the file in process, without -H and CAPSTAN_HOST, to use --dir")]
    NoDirectories,
    #[error("the arguments take {0} bytes in a request, more than the {1} that one may have")]
    TooManyArguments(usize, usize),
    #[error("{0}")]
    Program(String),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("stdin has more than {} that can be sent with a job; use `run` without -d to stream it", size(*.0))]
    StdinTooLarge(u64),
    #[error("job {id} did not end within {}", seconds(.timeout.as_secs_f64()))]
    StillRunning { id: JobId, timeout: Duration },
    #[error("stdin: {}", sentence(.0))]
    Stdin(io::Error),
    #[error("{stream}: {}", sentence(source))]
    Output { stream: OutputStream, source: io::Error },
    #[error("cannot begin: {0}")]
    Runtime(io::Error),
}

impl CliError {
    /// What the process exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Refused { code, .. }) if code == "unknown_handler" => UNKNOWN_HANDLER,
            error if error.is_broken_output() => KILLED,
            _ => FAILED,
        }
    }

    /// The outcome that a run has which ends with this.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Client(ClientError::Broken | ClientError::Frame(_)) => Outcome::Lost,
            Self::Output { .. } | Self::Stdin(_) => Outcome::Cancelled { by: CancelledBy::Client },
            error => Outcome::Refused { why: error.to_string() },
        }
    }

    /// Whether whoever read the output has left, which is no fault and is not worth a word.
    pub(super) fn is_broken_output(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What the system says is wrong, without its number.
pub(super) fn sentence(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_handler_has_a_code_of_its_own() {
        let refused = |code: &str| {
            CliError::Client(ClientError::Refused { code: code.into(), message: "m".into(), retry_after: None })
        };
        assert_eq!(refused("unknown_handler").exit_code(), 127);
        assert_eq!(refused("not_found").exit_code(), 125);
        assert_eq!(refused("busy").exit_code(), 125);
        assert_eq!(CliError::NoDirectories.exit_code(), 125);
        let stdout = |kind: io::ErrorKind| CliError::Output { stream: OutputStream::Stdout, source: kind.into() };
        assert_eq!(stdout(io::ErrorKind::BrokenPipe).exit_code(), 137);
        assert_eq!(stdout(io::ErrorKind::StorageFull).exit_code(), 125);
    }

    #[test]
    fn the_system_is_quoted_without_its_numbers() {
        assert_eq!(sentence(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(sentence(&io::Error::other("Odd")), "odd");
    }
}
