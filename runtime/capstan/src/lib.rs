//! The `capstan` program, which is both the daemon and the command line.
//!
//! In reading order:
//!
//! - [`cli`]: the subcommands of `capstan`;
//! - [`daemon`]: the configuration, the confinement, the start and the shutdown of the daemon;
//! - [`builtins`]: the native handlers of the daemon, which run as jobs;
//! - [`handler_store`]: the handlers that survive a restart;
//! - [`webhooks`]: calls to other services when jobs end.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create directories and tasks of their own"))]

pub mod builtins;
pub mod cli;
pub mod daemon;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod handler_store;
pub mod webhooks;
