//! What the daemon keeps in its data folder: programs by content, handlers by name, compiled code by both.
//!
//! ```text
//! keys/artifacts               32 random bytes that seal compiled code; never leaves the folder
//! programs/DIGEST              wasm, named by its SHA-256
//! handlers/NAME                a record: which program, which manifest, since when
//! artifacts/DIGEST.FINGERPRINT compiled code, sealed
//! ```
//!
//! Every file is written whole under a temporary name, synced, renamed, and its folder synced; a record is written after what it names.
//! So the folder is whole at every moment, whatever the daemon was doing when it died. What was damaged since is found when it is read.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod artifacts;
mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod programs;

pub use self::artifacts::Artifacts;
pub use capstan_engine::handler_store::StoreError;

pub use self::folder::prepare;
pub use self::programs::{Found, Programs, Record};

/// Reads or writes files on a thread for what blocks. Cancel-safe in that the work goes on to its end.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading and writing files does not panic")
}
