//! The `capstan` binary: the daemon and the command line.
//!
//! - [`daemon`]: configuration, confinement, start and shutdown of the daemon;
//! - [`builtins`]: the native handlers, run as jobs like any other;
//! - [`handler_store`]: the handlers that survive a restart;
//! - [`cli`]: the subcommands of `capstan`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod builtins;
pub mod cli;
pub mod daemon;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod handler_store;
