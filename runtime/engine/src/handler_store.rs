//! [`HandlerStore`]: where pushed handlers are kept so that they survive a restart, and why a push can fail.
//!
//! The trait lets the API push programs without knowing how they are compiled or stored. The daemon implements it over its sandbox and
//! its data directory.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::manifest::Manifest;
use capstan_core::policy::{Denied, Diagnostic};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::handler::HandlerName;
use crate::registry::{Precondition, PutResult, RegistryError, ResolvedHandler};

/// Keeps pushed handlers.
///
/// Each call either takes effect as a whole or changes nothing, also when its future is dropped.
#[async_trait]
pub trait HandlerStore: fmt::Debug + Send + Sync {
    /// Compiles and stores `wasm` and registers it as `name`. Also returns what its manifest asks for and does not get.
    ///
    /// # Errors
    /// [`HandlerStoreError`] says whether the program, the name, the policy or the disk is at fault.
    async fn push(
        &self,
        name: HandlerName,
        wasm: Bytes,
        manifest: Manifest,
        precondition: &Precondition,
    ) -> Result<(PutResult, Vec<Diagnostic>), HandlerStoreError>;

    /// Removes the handler `name`. Running jobs finish.
    ///
    /// # Errors
    /// [`HandlerStoreError::Registry`], [`HandlerStoreError::Store`].
    async fn remove(&self, name: &str, precondition: &Precondition) -> Result<Arc<ResolvedHandler>, HandlerStoreError>;

    /// Returns the program of `handler` as it was pushed, or `None` if it is native.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the stored file differs from what was pushed.
    async fn wasm(&self, handler: &ResolvedHandler) -> Result<Option<Bytes>, StoreError>;
}

/// Why a handler was not pushed or removed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum HandlerStoreError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the manifest asks for more than the operator allows: {0}")]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a program was not loaded. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadError {
    #[error("not WebAssembly: {0}")]
    NotWasm(String),
    #[error("WebAssembly in text form; turn it into binary first (the `capstan` command does)")]
    TextFormat,
    #[error("precompiled code is never loaded; push the wasm it was made from")]
    Precompiled,
    #[error("invalid module: {message}{}", at(*.offset))]
    Invalid { message: String, offset: Option<usize> },
    #[error("the module uses a feature that is off here: {0}")]
    FeatureDisabled(String),
    #[error("the module is too complex: {0}")]
    TooComplex(String),
    #[error("the module imports what Capstan does not offer: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("not a command: {0}")]
    NotACommand(String),
    #[error("compiling the module took more than it may: {0}")]
    CompileLimit(String),
    #[error("cannot compile now: {0}")]
    Unavailable(String),
}

fn at(offset: Option<usize>) -> String {
    offset.map(|offset| format!(" (at byte {offset:#x})")).unwrap_or_default()
}

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no space is left in the data folder")]
    Full,
    #[error("cannot {what} in the data folder: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0} in the data folder is damaged; push it again")]
    Damaged(String),
}

impl StoreError {
    /// The error for `source`, which happened while the store tried to `what`. A full disk and a spent quota are [`StoreError::Full`].
    pub fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let errno = Errno::from_io_error(&source);
        if matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)) {
            return Self::Full;
        }
        Self::Io { what: what.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_of_a_full_disk_or_a_spent_quota_is_full() {
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(StoreError::io("write", full.into()), StoreError::Full));
        }
        assert!(matches!(StoreError::io("write", Errno::IO.into()), StoreError::Io { .. }));
    }
}
