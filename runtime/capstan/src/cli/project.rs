//! The directory of a job: what `capstan new`, `build`, `test` and `dev` do with it.
//!
//! In reading order:
//!
//! - the tables `[build]` and `[[test]]` of `job.toml`: [`tables`], [`strip`];
//! - the directory and its language: [`folder`], [`language`];
//! - new directories: [`new`], [`templates`];
//! - how each language is compiled: [`toolchain`], [`build`];
//! - what runs the program: [`test`](mod@test), [`diff`], [`dev`], [`watch`];
//! - what can go wrong: [`error`].

pub(super) mod build;
pub(super) mod dev;
mod diff;
mod error;
mod folder;
mod language;
pub(super) mod new;
mod script;
mod strip;
mod tables;
mod templates;
pub(super) mod test;
mod toolchain;
mod watch;

pub(super) use self::error::ProjectError;
pub(super) use self::strip::daemon_manifest;
pub(super) use self::tables::{BuildTable, TestCase};
