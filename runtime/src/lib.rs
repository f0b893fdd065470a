//! Capstan: a daemon that runs jobs whose code is WebAssembly, each run in a fresh sandbox.
//!
//! In reading order:
//! - what a job is: [`env`](mod@env), [`outcome`], [`stream`], [`limits`], [`usage`], [`mount`], [`handler`], [`job`];
//! - who runs it: [`engine`], the registry and the life of the daemon;
//! - how it is reached: [`listener`] and [`listenbuffer`], bound early and opened late;
//! - what it says of itself and how it lives: [`builtins`], [`daemon`];
//! - how people call it: [`cli`], the `capstan` command.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod env;
pub mod outcome;
pub mod stream;
pub mod units;

pub mod events;
pub mod handler;
pub mod history;
pub mod job;
pub mod limits;
pub mod manifest;
pub mod mount;
pub mod usage;

mod metrics;

pub mod engine;
pub mod sandbox;
pub mod store;

pub mod kept;

pub mod listenbuffer;
pub mod listener;

mod api;

pub mod builtins;
pub mod daemon;

pub mod cli;
