//! Capstan: a daemon that runs jobs whose code is WebAssembly, each run in a fresh sandbox.
//!
//! In reading order:
//! - what a job is: [`env`](mod@env), [`outcome`], [`stream`], [`limits`], [`mount`], [`policy`](mod@policy), [`secret`], [`usage`], [`handler`], [`job`];
//! - what is told of it: [`events`], [`history`], `metrics`, [`tasks`];
//! - what a process gives up before it begins: [`confine`];
//! - who runs it: [`engine`], the registry and the life of the daemon, and [`sandbox`], the only part that knows wasm;
//! - what outlives the daemon: [`store`], and [`kept`], the handlers that are kept there;
//! - how it is reached: [`listener`] and [`listenbuffer`], bound early and opened late, `tls`, and `api`, which translates;
//! - what it says of itself and how it lives: [`builtins`], [`daemon`];
//! - how people call it: [`cli`], the `capstan` command.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod env;
pub mod feature;
pub mod handler;
pub mod job;
pub mod limits;
pub mod manifest;
pub mod mount;
pub mod outcome;
pub mod policy;
pub mod secret;
pub mod senses;
pub mod stream;
pub mod tasks;
pub mod units;
pub mod usage;

pub mod events;
pub mod history;
mod metrics;

pub mod confine;

pub mod engine;
pub mod sandbox;

pub mod kept;
pub mod store;

mod api;
pub mod listenbuffer;
pub mod listener;
mod tls;

pub mod builtins;
pub mod daemon;

pub mod cli;
