//! Plain data and rules: what a job is given, what it may use and touch, and how it ended.
//!
//! This crate opens no path, no socket and no runtime. Streams implement tokio's `AsyncRead` and `AsyncWrite` traits, which need none.
//!
//! In reading order:
//! - what a job is given: [`env`](mod@env), [`stream`], [`mount`], [`secret`];
//! - what it may use and touch: [`limits`], [`determinism`](senses), [`feature`], [`policy`], [`manifest`];
//! - what is reported of it: [`outcome`], [`usage`], [`metrics`];
//! - who asked for it: [`caller`];
//! - how sizes and times are written: [`units`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod caller;
pub mod determinism;
pub mod env;
pub mod feature;
pub mod limits;
pub mod manifest;
pub mod metrics;
pub mod mount;
pub mod outcome;
pub mod policy;
pub mod secret;
pub mod stream;
pub mod units;
pub mod usage;
