//! Reads the certificates that the servers of outbound HTTP requests must be issued by.

use std::path::PathBuf;

use capstan_core::http::Scheme;
use capstan_sandbox::{InvalidRoots, TrustedRoots};

use super::files;
use super::settings::Settings;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootsError {
    #[error("cannot read {}, the tls_ca of [outbound]: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}, the tls_ca of [outbound]: {source}", path.display())]
    Invalid { path: PathBuf, source: InvalidRoots },
}

/// Returns the certificates that `settings` trust: those of a file, or those of this machine. Blocks on the disk, unless no rule needs them.
///
/// # Errors
/// [`RootsError`]
pub(super) fn roots(settings: &Settings) -> Result<TrustedRoots, RootsError> {
    if let Some(path) = settings.outbound_ca.clone() {
        let pem = files::read_tls(&path).map_err(|source| RootsError::Read { path: path.clone(), source })?;
        return TrustedRoots::from_pem(&pem.bytes).map_err(|source| RootsError::Invalid { path, source });
    }
    if !settings.outbound.iter().any(|rule| rule.scheme == Scheme::Https) {
        return Ok(TrustedRoots::default());
    }
    let found = rustls_native_certs::load_native_certs();
    Ok(TrustedRoots::new(found.certs).unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine trusts no certificates, so HTTP requests of jobs with https fail");
        TrustedRoots::default()
    }))
}
