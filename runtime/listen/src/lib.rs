//! The network edge of the daemon: addresses and sockets, the gate that holds `accept`, and TLS.
//!
//! In reading order:
//!
//! - [`listenbuffer`]: wraps a listener and holds `accept` until the gate opens;
//! - [`listener`]: binds addresses and accepts connections;
//! - [`tls`]: does handshakes, and reads certificates and keys.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create directories and tasks of their own"))]

pub mod listenbuffer;
pub mod listener;
pub mod tls;
