//! Plain data and rules of Capstan: the input of a job, what its runs may use and touch, and how a run ended.
//!
//! This crate opens no path by name, no socket and no async runtime. Streams implement tokio's `AsyncRead` and `AsyncWrite` traits, which
//! need no runtime.
//!
//! In reading order:
//!
//! | modules | content |
//! |---|---|
//! | [`env`](mod@env), [`stream`], [`mount`], [`secret`] | the input and output of a job |
//! | [`limits`], [`determinism`], [`feature`], [`policy`], [`manifest`] | what a run may use and touch |
//! | [`snapshot`] | how a program is initialised once for all runs |
//! | [`retry`], [`rate`] | which runs of durable jobs are repeated, and how many start within a time |
//! | [`schedule`] | what a schedule does in special cases |
//! | [`outcome`], [`usage`], [`metrics`] | how a run ended and what it used |
//! | [`caller`] | who sent a request |
//! | [`units`] | how people write sizes and durations |

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create directories and tasks of their own"))]

pub mod caller;
pub mod determinism;
pub mod env;
pub mod feature;
pub mod http;
pub mod instances;
pub mod limits;
pub mod manifest;
pub mod metrics;
pub mod mount;
pub mod outcome;
pub mod policy;
pub mod rate;
pub mod retry;
pub mod route;
pub mod schedule;
pub mod secret;
pub mod snapshot;
pub mod static_file;
pub mod stream;
pub mod units;
pub mod usage;
