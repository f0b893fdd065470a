//! TLS for the daemon's TCP listeners and for the command that connects to them.
//!
//! In reading order:
//!
//! - [`files`]: which files the operator or the user named, and which combinations are valid;
//! - [`error`]: why these files cannot be used;
//! - [`pem`] and [`certificates`]: parsing them, and checking that a certificate can be used with its key;
//! - [`protocol`]: the versions, the cryptography and the application protocols;
//! - [`material`]: the server configuration that handshakes use;
//! - [`server`]: handshakes with limits, and the replacement of certificates without a lost connection;
//! - [`handshake_limit`]: the limit on concurrent handshakes;
//! - [`stream`]: the connection after the handshake;
//! - [`identity`]: the identity of the client;
//! - [`client`]: the side that connects: the command, and webhooks.
//!
//! This module knows nothing of HTTP and opens no files: the caller passes a function that reads them. It supports TLS 1.2 and 1.3, with
//! rustls on top of ring. Sessions are never resumed: every connection presents its certificate, so that a revocation or a replacement takes
//! effect with the next connection.

mod certificates;
mod client;
mod error;
mod files;
mod handshake_limit;
mod identity;
mod material;
mod pem;
mod protocol;
mod server;
mod stream;
mod usage;

pub use self::client::{Client, explain};
pub use self::error::{FilesError, MaterialError};
pub use self::files::{FileContent, Files};
pub use self::material::Material;
pub use self::server::{HandshakeError, Server};
pub(crate) use self::stream::TlsStream;
