//! The HTTP API of the daemon: it translates between HTTP and the [`Engine`](capstan_engine::engine::Engine), and decides nothing itself.
//!
//! The path of a request, hop by hop:
//!
//! 1. [`server`] accepts its connection and counts it against the connection limits; [`handshake`] speaks TLS where the address does.
//! 2. [`connection`] speaks HTTP/1.1 or HTTP/2 on it, under the limits of [`http_limits`] and [`timeouts`]. It checks `Host` and `Origin`
//!    ([`allowed_hosts`], [`cors`]) and holds early requests in the [`startup_queue`].
//! 3. [`router`] finds the API function in its one table of routes, calls it, and counts the response.
//! 4. The API function reads the request ([`request`], [`query`], [`request_body`]) and calls the engine. The functions are in [`system`],
//!    [`metrics`], [`handlers`], [`policy`], [`run`], [`jobs`], [`schedules`], [`events`] and [`debug`].
//! 5. [`body`] builds the response. [`disconnect`] streams one that follows a run and notices when the client disconnects. A failure
//!    becomes a status and a code in [`error`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

// What all parts share.
mod api;
mod slots;
mod state;

// Connections.
mod allowed_hosts;
mod connection;
mod connection_limit;
mod cors;
mod handshake;
mod http_limits;
mod peer;
mod server;
mod startup_queue;
mod surface;
mod timeouts;

// Requests and responses.
mod access_log;
mod body;
mod buckets;
mod disconnect;
mod error;
mod headers;
mod idempotency_key;
mod query;
mod queues;
mod request;
mod request_body;
mod request_counts;
mod router;
mod session;
mod stdin;
mod trace_context;
mod upgrade;
mod upload;
mod websocket;

// API functions.
mod dead_letters;
mod debug;
mod events;
mod guest_http;
mod handlers;
mod jobs;
mod metrics;
mod policy;
mod routes;
mod run;
mod schedules;
mod system;

#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
#[cfg(test)]
mod tests;

pub use self::access_log::{AccessLog, AccessLogFormat, AccessLogFormatError, AccessLogWriter};
pub use self::allowed_hosts::{AllowedHosts, AllowedHostsError};
pub use self::api::Api;
pub use self::debug::mode::ProcessNumbers;
pub use self::http_limits::HttpLimits;
pub use self::router::{MAX_VERSION, MIN_VERSION};
pub use self::run::framed::{STDERR, STDOUT, frame_head};
pub use self::server::{Listeners, serve};
pub use self::state::Settings;
