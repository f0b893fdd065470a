//! Handlers, jobs and their life: the registry, admission, concurrency limits, events, history and shutdown.
//!
//! The engine knows neither HTTP nor WebAssembly. A [`Handler`](handler::Handler) does the work of a job, a [`Job`](job::Job) is one unit of
//! requested work, and the [`Engine`](engine::Engine) brings the two together:
//!
//! ```text
//! let job = engine.job("resize")?.args(["cat.png"]).build()?;
//! job.start()?;
//! let end = job.wait().await;
//! ```
//!
//! # Layers
//!
//! From the bottom up. A file uses only files of lower layers, or of its own layer without a cycle.
//!
//! | layer | files |
//! |---|---|
//! | names and ids | `handler/name`, `job/id` |
//! | descriptions of handlers | `handler/info` ([`HandlerInfo`](handler::HandlerInfo), [`Role`](handler::Role)) |
//! | descriptions of jobs | `job/spec` ([`JobSpec`](job::JobSpec)), `job/state` ([`JobEnd`](job::JobEnd)), `job/idempotency_key`, `job/command_line` |
//! | descriptions of events | `events/kind` |
//! | mechanisms without jobs | `job/stop`, `job/tree` ([`Parent`](job::Parent)), [`recorded_stream`], [`output_log`], [`events`], [`metrics`], [`tasks`] |
//! | handlers | [`handler`] (the trait, [`Call`](handler::Call), [`Native`](handler::Native)), then [`registry`] |
//! | jobs | [`job`]: the state machine and the streams of a [`Job`](job::Job), bound to a resolved handler |
//! | what keeps jobs | [`history`], `engine/admission`, `engine/concurrency`, `engine/in_flight` |
//! | the engine | [`engine`]: build, start and shut down |
//! | interfaces to others | [`handler_store`]: how the API pushes programs; [`job_store`]: how jobs survive the daemon |
//! | durable jobs | [`queue`]: runs what the store keeps |
//! | what handlers keep | [`data`]: buckets and objects of a handler, and the traits of their store |
//! | times | [`schedule`], then [`scheduler`], which submits jobs to the queue again and again |
//!
//! Two traits point downwards where data points upwards, so that no file knows a higher layer:
//! - A job must start itself, but does not know the engine. It holds a `StartJob`, which the engine implements.
//! - A [`Call`](handler::Call) holds its job as the parent of others, but is a layer below jobs. It holds a `TreeNode`, which the job
//!   implements.
//!
//! [`HistoryStore`](history::HistoryStore) records jobs that do not survive the daemon, in memory. A [`JobStore`](job_store::JobStore) keeps
//! those that do. Both are above the descriptions: [`JobSpec`](job::JobSpec), [`JobEnd`](job::JobEnd), [`JobId`](job::JobId) and
//! [`IdempotencyKey`](job::IdempotencyKey) hold no job, handler or engine.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod budget;
pub mod data;
pub mod engine;
pub mod events;
pub mod handler;
pub mod handler_store;
pub mod history;
pub mod job;
pub mod job_store;
pub mod metrics;
mod notified;
pub mod output_log;
pub mod queue;
pub mod recorded_stream;
pub mod registry;
pub mod routes;
mod run_recorder;
pub mod schedule;
pub mod scheduler;
pub mod tasks;
