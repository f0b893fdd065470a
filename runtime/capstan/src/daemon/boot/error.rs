//! `BootError`: why the daemon did not start.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use capstan_engine::data::DataError;
use capstan_engine::handler_store::HandlerStoreError;
use capstan_engine::job_store::JobStoreError;
use capstan_listen::tls::MaterialError;
use capstan_sandbox::{LoadError, SandboxError};
use capstan_store::{LockError, StoreError};

use crate::daemon::ceiling::CeilingError;
use crate::daemon::outbound::RootsError;
use crate::daemon::webhooks::WebhookError;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum BootError {
    #[error("cannot open data directory {}: {source}; make it accessible to the daemon's user, or name another with --data", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("data directory {}: {}", path.display(), lock_reason(source))]
    Lock { path: PathBuf, source: LockError },
    /// The message of the job `serveapi`, and its exit code.
    #[error("{reason}")]
    Listen { reason: String, exit_code: u8 },
    #[error("data directory {}: cannot clear the scratch directories of earlier runs: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error("TLS: {0}")]
    Tls(#[from] MaterialError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("data directory {}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error("data directory {}: {source}", path.display())]
    Jobs { path: PathBuf, source: JobStoreError },
    #[error("data directory {}: {source}", path.display())]
    DataStore { path: PathBuf, source: DataError },
    #[error("data directory {}: cannot restore the handlers: {source}", path.display())]
    Handlers { path: PathBuf, source: HandlerStoreError },
    #[error("the compiler does not start, so nothing could be compiled: {0}; see --confine")]
    Compiler(#[source] LoadError),
    #[error("the start failed in the job {job}: {reason}")]
    Builtin { job: &'static str, reason: String },
    #[error(
        "the start took longer than {deadline:?} and was in phase {phase}; for a longer limit, set boot.deadline or --boot-deadline"
    )]
    Deadline { deadline: Duration, phase: String },
}

impl BootError {
    /// Returns the exit code of the daemon: that of the job `serveapi` if it failed, and 1 otherwise.
    pub(in crate::daemon) fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { exit_code, .. } => *exit_code,
            Self::Data { .. }
            | Self::Lock { .. }
            | Self::Scratch { .. }
            | Self::Ceiling(_)
            | Self::Webhook(_)
            | Self::Roots(_)
            | Self::Tls(_)
            | Self::Sandbox(_)
            | Self::Store { .. }
            | Self::Jobs { .. }
            | Self::DataStore { .. }
            | Self::Handlers { .. }
            | Self::Compiler(_)
            | Self::Builtin { .. }
            | Self::Deadline { .. } => 1,
        }
    }
}

fn lock_reason(error: &LockError) -> String {
    match error {
        LockError::Held(pid) => {
            format!("another daemon (pid {pid}) uses it; stop that daemon, or choose another directory with --data")
        }
        LockError::Io(_) => error.to_string(),
    }
}
