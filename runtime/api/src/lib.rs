//! The API: HTTP on one side, the engine on the other. It translates, and decides nothing.
//!
//! The way of a request: [`server`] accepts its connection, [`connection`] speaks HTTP on it, [`router`] finds the API function, and
//! that is in [`system`], [`handlers`], [`run`], [`jobs`] or [`events`]. What goes wrong becomes an answer in [`error`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod allowed_hosts;
mod api;
mod body;
mod bounds;
mod connection;
mod connection_limit;
mod cors;
mod debug;
mod disconnect;
mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod handlers;
mod handshake;
mod idempotency_key;
mod input;
mod jobs;
mod metrics;
mod peer;
mod policy;
mod query;
mod read_progress;
mod request;
mod router;
mod run;
mod server;
mod startup_queue;
mod system;
mod timeouts;
mod upgrade;
mod upload;
mod websocket;

pub use self::allowed_hosts::{Callers, CallersError};
pub use self::api::{Api, Settings};
pub use self::bounds::Bounds;
pub use self::debug::ProcessNumbers;
pub use self::router::{MAX_VERSION, MIN_VERSION};
pub use self::run::framed::{STDERR, STDOUT, head as frame_head};
pub use self::server::serve;

#[cfg(test)]
mod tests;
