//! Confinement: a process gives up permissions permanently at its start, so that code that escapes from the sandbox finds little to use.
//!
//! The kernel enforces each part separately: no new privileges, a minimum of capabilities, Landlock for files and sockets, and seccomp for
//! system calls. If the kernel lacks a part, the others still apply. A [`ConfinementReport`] describes what applies, and what is missing and
//! why.
//!
//! Everything here confines the calling thread and the threads that it starts later. Call it while the process has only one thread.
//!
//! In reading order:
//!
//! - [`Mode`]: how much confinement the operator wants;
//! - [`confine`](fn@confine): gives up everything except [`Requirements`];
//! - [`Rules`]: what Landlock still allows;
//! - [`ConfinementReport`], [`ConfinementError`]: the result.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create directories and tasks of their own"))]

mod capabilities;
mod confine;
mod error;
mod landlock;
mod mode;
mod report;
mod seccomp;

pub use self::confine::{Requirements, confine, confine_compiler};
pub use self::error::ConfinementError;
pub use self::landlock::{Access, NETWORK, Rule, Rules};
pub use self::mode::{Mode, UnknownMode};
pub use self::report::ConfinementReport;

#[cfg(test)]
mod tests;
