//! The sandbox: loads and runs WebAssembly programs. This is the only crate that names wasmtime.
//!
//! Each function belongs to one of three phases:
//! - *Startup*: [`Sandbox::new`] creates the `wasmtime::Engine` of the default profile, the guest runtime and the ticker.
//! - *Load*: [`Sandbox::load`] compiles a program in a child process, checks it and links it. The first program of a further profile also
//!   creates the engine of that profile, and the first module and the first component of a profile its linker.
//! - *Run*: the handler that a load returns creates a new store and instance for each call. A run compiles nothing, links nothing and reads
//!   no configuration.
//!
//! Everything is denied by default. A guest has its arguments, its `Env`, its three streams, clocks and random numbers. It has no
//! directory except the mounts that it is given, no network except what its policy grants, and nothing of the daemon's environment.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create their own folders and tasks"))]

mod config;
mod sandbox;

// Load.
mod artifact;
mod bulk_memory;
mod catch_clauses;
mod compile;
pub mod compile_child;
mod compile_limits;
mod compiled_program;
mod complexity;
mod engines;
mod features;
mod foreign;
pub mod inspect;
mod interface;
mod kind;
mod link;
mod linkers;
mod lists;
mod outline;
mod profile;
mod program;
mod provided;
mod shared_programs;
mod snapshot;

// Run.
mod epoch_ticker;
mod exceptions;
mod guest_profiler;
mod guest_runtime;
mod handles;
mod host;
mod invoke;
mod limiter;
mod run;
mod run_context;
mod scratch;
mod trap;

// What a guest can use.
mod clocks;
mod disk;
mod http;
mod network;
mod open_files;
mod random;
mod stdio;
mod stores;

#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;

pub use capstan_engine::handler_store::LoadError;

pub use self::compile::{CompileStats, confined_compiler};
pub use self::compile_limits::CompileLimits;
pub use self::complexity::function_count;
pub use self::config::Config;
pub use self::http::{InvalidRoots, TrustedRoots};
pub use self::network::{Resolve, Resolver};
pub use self::profile::{DEFAULT_STACK, Metering, WASMTIME_VERSION, max_runs_for_maps};
pub use self::sandbox::{Sandbox, SandboxError};
pub use self::scratch::scratch_folder;
