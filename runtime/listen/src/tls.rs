//! TLS, on both sides: what the operator names in files is read and checked here, and made into what connections are secured with.
//!
//! In reading order: [`files`] (which files, and what they must have together), [`pem`] (what is in one), [`certificates`] (a certificate with
//! its key, and whether it can be used), [`server`] (handshakes, under limits; new material without a connection lost), [`handshake_limit`] (how many
//! at a time), [`stream`] (the connection after it), [`identity`] (who is at its other end), [`client`] (the command's side).
//!
//! It knows nothing of HTTP, and opens no file: it is handed their bytes. TLS 1.2 and 1.3 are spoken, with rustls over ring. No session is
//! taken up again: every connection shows its certificate, so that what was revoked or replaced counts from the next connection on.

mod certificates;
mod client;
mod files;
mod handshake_limit;
mod identity;
mod pem;
mod server;
mod stream;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

pub use self::certificates::MaterialError;
pub use self::client::{Client, explain};
pub use self::files::{Files, FilesError, Read};
pub use self::server::{HandshakeError, Material, Server};
pub(crate) use self::stream::Tls;

/// The versions that are spoken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
