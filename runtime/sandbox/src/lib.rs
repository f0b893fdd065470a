//! The sandbox: where wasm programs are loaded and run, through one narrow boundary.
//!
//! Three tempos, and each function here belongs to one. *Start*: [`Sandbox::new`] builds the `wasmtime::Engine` of the default profile, its
//! linkers, the guest runtime and the ticker. *Load*: [`Sandbox::load`] compiles in a child, checks and pre-links; the first of a further
//! profile builds the engine of that too. *Run*: the handler that a load
//! returns makes a fresh store and instance for each call. Nothing compiles, links or looks up configuration in a run.
//!
//! Deny by default: a guest sees its arguments, its `Env`, its three streams, clocks and random numbers; no directory but the mounts
//! that were handed in, nothing of the network but what it was granted, nothing of the daemon's environment.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod artifact;
mod bulk_memory;
mod clocks;
mod compile;
pub mod compile_child;
mod complexity;
mod disk;
mod engines;
mod epoch_ticker;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod guest_profiler;
mod guest_runtime;
mod host;
mod limiter;
mod linkers;
mod network;
mod open_files;
mod profile;
mod program;
mod random;
mod run;
mod sandbox;
mod scratch;
mod stdio;
mod trap;

pub use capstan_engine::handler_store::LoadError;

pub use self::compile::{CompileLimits, Compiles, confined_compiler};
pub use self::network::{Resolve, Resolver};
pub use self::profile::{DEFAULT_STACK, WASMTIME_VERSION, runs_within};
pub use self::sandbox::{Config, Metering, Sandbox, SandboxError};
pub use self::scratch::scratch_folder;
