//! [`HandlerStore`]: stores pushed handlers so that they survive a restart. Also why a push can fail.
//!
//! The trait lets the API push programs without knowing how they are compiled or stored. The daemon implements it over its sandbox and
//! its data directory.

mod base_error;
mod files_error;
mod foreign;

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::manifest::Manifest;
use capstan_core::policy::{Denied, Diagnostic};
use capstan_core::units::format_size;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use self::base_error::BaseError;
pub use self::files_error::{FilesError, FilesLimits};
pub use self::foreign::ForeignKind;
use crate::handler::HandlerName;
use crate::registry::{Precondition, PutResult, RegistryError, ResolvedHandler};
use crate::schedule::ScheduleError;
use crate::scheduler::SchedulerError;

/// What a push stores.
#[derive(Debug)]
pub struct NewHandler {
    pub name: HandlerName,
    /// The program. `None` if the manifest names a base.
    pub wasm: Option<Bytes>,
    /// Its files, as a tar archive from the position of this file on. `None` if it has none.
    pub files: Option<File>,
    pub manifest: Manifest,
}

/// Stores pushed handlers.
///
/// Each call either takes effect as a whole or changes nothing, also when its future is dropped.
#[async_trait]
pub trait HandlerStore: fmt::Debug + Send + Sync {
    /// Compiles and stores a handler and registers it, with the schedules of its manifest. Compiles nothing if it shares the program of another.
    /// Also returns what its manifest asks for and does not get.
    ///
    /// # Errors
    /// [`HandlerStoreError`] says whether the program, the name, the policy or the disk is at fault.
    async fn push(
        &self,
        new: NewHandler,
        precondition: &Precondition,
    ) -> Result<(PutResult, Vec<Diagnostic>), HandlerStoreError>;

    /// Removes the handler `name` and the schedules of its manifest. Running jobs finish.
    ///
    /// # Errors
    /// [`HandlerStoreError::Registry`], [`HandlerStoreError::Store`], [`HandlerStoreError::Schedules`].
    async fn remove(&self, name: &str, precondition: &Precondition) -> Result<Arc<ResolvedHandler>, HandlerStoreError>;

    /// Returns the program of `handler` as it was pushed, or `None` if it is native.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the stored file differs from what was pushed.
    async fn wasm(&self, handler: &ResolvedHandler) -> Result<Option<Bytes>, StoreError>;
}

/// Why a handler was not pushed or removed. Nothing has changed, unless the store of jobs fails after the handler has changed: then schedules
/// that go with it are removed at the next start.
#[derive(Debug, thiserror::Error)]
pub enum HandlerStoreError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the manifest requests more than the operator allows: {0}")]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The schedules of the manifest cannot be installed.
    #[error("cannot install the schedules of the manifest: {0}")]
    Schedules(#[from] SchedulerError),
}

impl From<ScheduleError> for HandlerStoreError {
    fn from(error: ScheduleError) -> Self {
        Self::Schedules(error.into())
    }
}

/// Why a program was not loaded. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadError {
    #[error("the program is not WebAssembly: {0}")]
    NotWasm(String),
    #[error("the program is WebAssembly text; convert it to binary first, as `capstan push` does")]
    TextFormat,
    #[error("the program is precompiled code, which is never loaded; push the wasm that it was compiled from")]
    Precompiled,
    #[error("invalid module: {message}{}", at(*.offset))]
    Invalid { message: String, offset: Option<usize> },
    #[error("the module uses a WebAssembly feature that is not enabled: {0}")]
    FeatureDisabled(String),
    #[error("the module is too complex: {0}")]
    TooComplex(String),
    #[error("the module imports functions that Capstan does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// `message` says what the program is, why it cannot run, and what to build in its place.
    #[error("{message}")]
    Foreign { kind: ForeignKind, message: String },
    #[error("the program is not a command: {0}")]
    NotACommand(String),
    #[error(
        "the program needs {} of memory from the start, and the limit is {}: raise it with --memory, or with memory under [policy] in the \
         configuration of the daemon",
        format_size(*.needed), format_size(*.limit)
    )]
    MemoryLimit { needed: u64, limit: u64 },
    #[error("compiling the module exceeded a limit: {0}")]
    CompileLimit(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot compile now: {0}")]
    Unavailable(String),
}

/// Why no snapshot of a program was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotError {
    #[error("no snapshot can be taken of the program: {0}")]
    Unsupported(String),
    #[error("the initialisation of the snapshot failed: {reason}{}", last_words(.output))]
    Failed {
        reason: String,
        /// The last lines that the initialisation has written.
        output: String,
    },
    #[error(
        "the initialisation of the snapshot reads random bytes, and every run would find the same ones in its memory: do without them; or \
         seed all generators again in each run, and write random = \"once\" under [snapshot] in the manifest"
    )]
    Random,
}

fn last_words(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("; its output ends with:\n{output}") }
}

fn at(offset: Option<usize>) -> String {
    offset.map(|offset| format!(" (at byte {offset:#x})")).unwrap_or_default()
}

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data directory is full: the disk or a quota has no space left")]
    Full,
    #[error("cannot {action} in the data directory: {source}")]
    Io { action: String, source: io::Error },
    #[error("{0} in the data directory is damaged; push it again")]
    Damaged(String),
}

impl StoreError {
    /// Returns the error for `source`, which occurred while the store tried to `action`. A full disk and an exhausted quota are
    /// [`StoreError::Full`].
    pub fn io(action: impl fmt::Display, source: io::Error) -> Self {
        let errno = Errno::from_io_error(&source);
        if matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)) {
            return Self::Full;
        }
        Self::Io { action: action.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_of_full_disk_or_exhausted_quota_is_full() {
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(StoreError::io("write", full.into()), StoreError::Full));
        }
        assert!(matches!(StoreError::io("write", Errno::IO.into()), StoreError::Io { .. }));
    }
}
