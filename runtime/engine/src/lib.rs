//! Handlers, jobs and their life: the registry, admission, concurrency limits, events, history and shutdown.
//!
//! The engine knows neither HTTP nor WebAssembly. A [`Handler`](handler::Handler) does the work of a job, a [`Job`](job::Job) is one unit of
//! requested work, and the [`Engine`](engine::Engine) brings the two together.
//!
//! In reading order: [`handler`], [`job`], [`engine`], [`handler_store`], [`history`], [`events`], [`metrics`], [`tasks`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod engine;
pub mod events;
pub mod handler;
pub mod handler_store;
pub mod history;
pub mod job;
pub mod metrics;
pub mod tasks;
