//! The API: HTTP on one side, the engine on the other. It translates, and decides nothing.
//!
//! The way of a request: [`server`] accepts its connection, [`connection`] speaks HTTP on it, [`router`] finds the API function, and
//! that is in [`system`], [`handlers`], [`run`], [`jobs`] or [`events`]. What goes wrong becomes an answer in [`error`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod api;
mod body;
mod bounds;
mod caller;
mod connection;
mod cors;
mod debug;
mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod handlers;
mod held;
mod input;
mod jobs;
mod key;
mod live;
mod metrics;
mod pace;
mod peers;
mod policy;
mod query;
mod reading;
mod request;
mod router;
mod run;
mod secure;
mod server;
mod system;
mod upgrade;
mod upload;
mod websocket;
mod wire;

pub use self::api::{Api, Settings};
pub use self::bounds::Bounds;
pub use self::caller::{Callers, CallersError};
pub use self::debug::ProcessNumbers;
pub use self::router::{MAX_VERSION, MIN_VERSION};
pub use self::run::framed::{STDERR, STDOUT, head as frame_head};
pub use self::server::serve;

#[cfg(test)]
mod tests;
