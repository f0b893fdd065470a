//! The daemon's data directory: programs by digest, handlers by name, and compiled code by both.
//!
//! ```text
//! keys/artifacts               32 random bytes that seal compiled code; never leaves the directory
//! index/handlers               a copy of all records in one file; can be removed at any time
//! programs/DIGEST              wasm, named by its SHA-256
//! files/DIGEST/                the files of handlers, named by the SHA-256 of their names and contents
//! handlers/NAME                a record: which program, which manifest, since when
//! artifacts/DIGEST.FINGERPRINT compiled code, sealed
//! jobs/                        durable jobs, see [`jobs`]
//! data/                        what handlers keep between their runs, see [`data`]
//! ```
//!
//! Every file is written completely under a temporary name, synced and renamed, and then its directory is synced. A record is written after
//! the program and the files that it names. So the directory is consistent at every moment, whatever the daemon was doing when it died. Damage is found when
//! a file is read.
//!
//! The cache of a user has the same keys and artifacts, a limit on its size, locks between processes (`code_cache`), and knows which files
//! have which programs (`program_files`).
//!
//! In reading order: [`Programs`] (programs and records), [`HandlerFiles`], [`Artifacts`] (compiled code), all above `AtomicDir`; then [`jobs`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod artifacts;
mod atomic_dir;
mod code_cache;
pub mod data;
mod digest;
mod file_stamp;
mod file_system;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod handler_index;
mod handler_record;
pub mod jobs;
mod lock_file;
mod program_files;
mod programs;
mod seal;

pub use capstan_engine::handler_store::StoreError;

pub use self::artifacts::{Artifacts, cursor_key};
pub use self::atomic_dir::check_data_dir;
pub use self::code_cache::CachedCode;
pub use self::digest::digest;
pub use self::file_system::{Suitability, suitability};
pub use self::files::{FilesLease, HandlerFiles, Unpacked};
pub use self::handler_record::HandlerRecord;
pub use self::lock_file::{LockError, LockFile, lock_data_dir};
pub use self::program_files::{FileIdentity, ProgramSummary};
pub use self::programs::{NamedRecord, Programs};

/// Runs `work`, which reads or writes files, on a thread for blocking calls. If the future is dropped, `work` still runs to its end.
///
/// # Panics
/// Panics if `work` does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading and writing files does not panic")
}
