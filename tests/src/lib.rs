//! The harness of Capstan's integration and end-to-end tests.
//!
//! A test starts the real binary with [`Daemon`], sends requests with [`Client`] (or malformed ones with [`Raw`]), runs the command with
//! [`Cli`], and takes its guests from [`guests`]. Every wait has the timeout [`TIMEOUT`] and ends as soon as its condition holds: no test
//! sleeps. Harness functions panic where a test would only unwrap.
//!
//! Suggested reading order: `daemon`, `cli`, `client`, `reply`, `raw`, `tls`, `websocket`, `frames`, `http2`, `guests`, `modules`, `bombs`,
//! `eventually`.

#![expect(
    clippy::disallowed_methods,
    reason = "tests create directories, read the files that they wrote, and use connections directly"
)]
#![expect(clippy::unwrap_used, reason = "a harness reports by panicking")]

pub mod bombs;
mod cli;
mod client;
mod daemon;
mod eventually;
pub mod features;
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
pub use daemon::{Daemon, FailedStart, Setup};
pub use eventually::{TIMEOUT, eventually, within};
pub use raw::{BackgroundReader, Raw};
pub use reply::Reply;
pub use tokio_tungstenite::tungstenite::Message;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub use websocket::WebSocket;
