//! The sandbox: where wasm programs are loaded and run, through one narrow boundary.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::handler::Handler;
use crate::limits::Limits;
use crate::manifest::Manifest;

/// What a sandbox is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What no run may use more of.
    pub ceiling: Limits,
    /// How many runs may go on at a time.
    pub runs: usize,
    /// What compiling one program may take.
    pub compile: CompileLimits,
    /// The program that compiles: this one, called with `compile-child`.
    pub compiler: PathBuf,
}

/// What compiling one program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Wall clock and processor time.
    pub timeout: Duration,
    /// Bytes of address space.
    pub memory: u64,
}

/// Why a program was not loaded. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Unavailable(String),
}

/// Loads and runs programs; clones are the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox(#[expect(dead_code, reason = "being built")] Arc<Config>);

impl Sandbox {
    /// Builds the sandbox: the one wasmtime engine, the linkers, the guest runtime, the ticker.
    ///
    /// # Errors
    /// [`LoadError::Unavailable`]
    pub fn new(config: Config) -> Result<Self, LoadError> {
        Ok(Self(Arc::new(config)))
    }

    /// Compiles `wasm` in a child, checks and pre-links it. Cancel-safe: dropping the future kills the child.
    ///
    /// # Errors
    /// [`LoadError`]
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn load(&self, _wasm: Bytes, _manifest: Manifest) -> Result<Arc<dyn Handler>, LoadError> {
        Err(LoadError::Unavailable("being built".into()))
    }
}
