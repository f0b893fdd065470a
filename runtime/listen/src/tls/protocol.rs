//! The TLS versions, the cryptography and the application protocols that both sides use.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

/// The supported versions.
pub(super) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// HTTP/2, as ALPN names it.
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1, as ALPN names it.
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Returns the cryptography of both sides, which supports every version in [`VERSIONS`].
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
