//! How the daemon is reached: addresses and sockets, the gate that holds `accept`, and TLS.
//!
//! - [`listener`] turns addresses into bound sockets and accepts connections;
//! - [`listenbuffer`] wraps a listener and holds `accept` until the gate opens;
//! - [`tls`] secures connections and reads certificates.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

pub mod listenbuffer;
pub mod listener;
pub mod tls;
