//! `CliError`: why a subcommand failed, with the exit code and the outcome that report it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use capstan_core::env::EnvError;
use capstan_core::outcome::{CancelledBy, Outcome, OutputStream};
use capstan_engine::data::DataError;
use capstan_engine::job::JobId;
use capstan_listen::tls::{FilesError, MaterialError};
use capstan_store::jobs::MaintenanceError;

use super::address::DaemonAddressError;
use super::client::ClientError;
use super::exit_code::{FAILED, KILLED, UNKNOWN_HANDLER};
use super::format::seconds;
use super::io_error::describe;
use super::job_id::JobIdError;
use super::project::ProjectError;
use super::runtimes::RuntimeError;

/// Why a subcommand failed. The message is printed after `capstan: `.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Address(#[from] DaemonAddressError),
    #[error(transparent)]
    TlsFiles(#[from] FilesError),
    #[error("cannot use TLS: {0}")]
    Tls(#[from] MaterialError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("{}: {}", path.display(), describe(source))]
    File { path: PathBuf, source: io::Error },
    #[error("{file} is not valid WebAssembly text: {reason}")]
    WasmText { file: String, reason: String },
    #[error("{file} is not a valid manifest: {reason}")]
    Manifest { file: String, reason: String },
    #[error("{file} is not a definition of a schedule: {reason}")]
    Definition { file: String, reason: String },
    #[error("the handler has no name: a program from stdin needs NAME=-, or a manifest with a `name`")]
    NoHandlerName,
    #[error("there is nothing to push: name a program file, or a script with --from")]
    NoProgram,
    #[error("{} is no program: to push a script, name the runtime with --from, for example --from python", .0.display())]
    NeedsFrom(PathBuf),
    #[error("{} is a program, but the handler shares the program of another: leave out one of them", .0.display())]
    ProgramAndBase(PathBuf),
    #[error("cannot send {}: {reason}", path.display())]
    Archive { path: PathBuf, reason: String },
    #[error("--app is for a FILE.wasm or a script; a handler has the files that were pushed with it")]
    FilesNeedFile,
    #[error("{} does not lie in {}, which --app names", script.display(), files.display())]
    ScriptOutsideFiles { script: PathBuf, files: PathBuf },
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("argument {0} of the command line is not UTF-8: names and arguments of guests must be UTF-8")]
    ArgNotUtf8(usize),
    #[error("the value of the variable {0} is not UTF-8: the variables of a guest must be UTF-8")]
    VariableNotUtf8(String),
    #[error(
        "--mount, --pass-env, --secret and --concurrency-key need a daemon: name one with -H or CAPSTAN_HOST, or use --dir and --env \
         for a run in process"
    )]
    NeedsDaemon,
    #[error("--compile-memory is for a FILE.wasm in process; a daemon has memory under [compile] in its configuration")]
    CompileMemoryNeedsInProcess,
    #[error(
        "--dir works only for a file that is run in process: run FILE.wasm without -d, -H and CAPSTAN_HOST, or ask the daemon for \
         a --mount"
    )]
    DirNeedsInProcess,
    #[error("--manifest is for a FILE.wasm in process; give it to `capstan push` for a handler of a daemon")]
    ManifestNeedsInProcess,
    #[error("there is no place for a cache of compiled code: set CAPSTAN_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheDir,
    #[error("the cache of compiled code cannot be used: {0}")]
    Cache(String),
    #[error("there is no default data directory, because neither XDG_STATE_HOME nor HOME is set: name it with --data")]
    NoDataDir,
    #[error("the data directory {} cannot be used: {reason}", path.display())]
    DataDir { path: PathBuf, reason: String },
    #[error("{}: {source}", path.display())]
    DataStore { path: PathBuf, source: DataError },
    #[error("{}: {source}", path.display())]
    JobStore { path: PathBuf, source: MaintenanceError },
    #[error("{0}")]
    Program(String),
    #[error(transparent)]
    JobId(#[from] JobIdError),
    #[error("job {id} has not ended within {}: it continues; wait longer with --timeout, or end it with `capstan cancel`", seconds(.timeout.as_secs_f64()))]
    WaitTimeout { id: JobId, timeout: Duration },
    #[error("jobs of {handler} still run after {}: the queue stays paused; wait longer with --timeout, or end them with `capstan cancel`", seconds(.timeout.as_secs_f64()))]
    DrainTimeout { handler: String, timeout: Duration },
    #[error(
        "this would change every dead letter: select some with --handler, --label, --error or --since, or use --all"
    )]
    SelectsAll,
    #[error(
        "a job from a FILE is not durable, because its program is removed again: push the file with `capstan push`, and submit a \
         job of that handler"
    )]
    FileIsNotDurable,
    #[error("cannot read stdin: {}", describe(.0))]
    Stdin(io::Error),
    #[error("cannot write to {stream}: {}", describe(source))]
    Output { stream: OutputStream, source: io::Error },
    #[error("cannot start: {}", describe(.0))]
    Startup(io::Error),
}

impl CliError {
    /// Returns the exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Rejected { code, .. }) if code == "unknown_handler" => UNKNOWN_HANDLER,
            Self::Project(error) => error.exit_code(),
            error if error.is_broken_pipe() => KILLED,
            _ => FAILED,
        }
    }

    /// Returns the outcome of a run that ended with this error.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Client(ClientError::Disconnected | ClientError::Frame(_)) => Outcome::Lost,
            Self::Output { .. } | Self::Stdin(_) => Outcome::Cancelled { by: CancelledBy::Client },
            error => Outcome::Refused { why: error.to_string() },
        }
    }

    /// Whether the reader of the output has closed it. This is not worth a message: `capstan logs … | head` does it.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_handler_has_its_own_exit_code() {
        let rejected = |code: &str| {
            CliError::Client(ClientError::Rejected { code: code.into(), message: "m".into(), retry_after: None })
        };
        assert_eq!(rejected("unknown_handler").exit_code(), 127);
        assert_eq!(rejected("not_found").exit_code(), 125);
        assert_eq!(rejected("busy").exit_code(), 125);
        assert_eq!(CliError::DirNeedsInProcess.exit_code(), 125);
        let stdout = |kind: io::ErrorKind| CliError::Output { stream: OutputStream::Stdout, source: kind.into() };
        assert_eq!(stdout(io::ErrorKind::BrokenPipe).exit_code(), 137);
        assert_eq!(stdout(io::ErrorKind::StorageFull).exit_code(), 125);
    }
}
