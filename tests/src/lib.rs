//! The harness of Capstan's integration and end-to-end tests.
//!
//! A test starts the real binary with [`Daemon`], talks to it with [`Client`] (or, where the request must be wrong, with [`Raw`]),
//! runs the command with [`Cli`], and takes its guests from [`guests`]. Every wait is bounded by [`PATIENCE`] and ends when
//! what was waited for is there: no test sleeps. Harness functions panic where a test would only unwrap.
//!
//! In reading order: `daemon`, `cli`, `client`, `reply`, `raw`, `tls`, `websocket`, `frames`, `http2`, `guests`, `modules`, `bombs`, `eventually`.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make their own folders, read what they wrote, and drive their connections"
)]
#![expect(clippy::unwrap_used, reason = "a harness reports by panicking")]

pub mod bombs;
mod cli;
mod client;
mod daemon;
mod eventually;
pub mod frames;
pub mod guests;
pub mod http2;
pub mod modules;
mod raw;
mod reply;
pub mod tls;
mod websocket;

pub use cli::{Cli, Finished, Running};
pub use client::{Address, Call, Client, Exchange, Feed};
pub use daemon::{Daemon, Refused, Setup};
pub use eventually::{PATIENCE, eventually, within};
pub use raw::{Raw, Talk};
pub use reply::Reply;
pub use tokio_tungstenite::tungstenite::Message;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub use websocket::WebSocket;
