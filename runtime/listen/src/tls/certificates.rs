//! A certificate with its private key, and whether the other side could accept it.
//!
//! A file that would make every handshake fail is rejected when it is loaded. A daemon loads its files before it binds anything, because a
//! daemon that rejects all clients and reports it only in its log is worse than one that does not start. A reload keeps the old files then.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::error::MaterialError;
use super::files::LoadedFile;
use super::pem;
use super::protocol::crypto_provider;
use super::usage::Usage;

/// A certificate with its private key, checked for its usage.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    pub(super) certified_key: Arc<CertifiedKey>,
    pub(super) not_after: Timestamp,
}

impl OwnCertificate {
    /// Parses the certificate in `cert` and the key in `key`, and checks that they can be used for `usage` now.
    ///
    /// # Errors
    /// [`MaterialError`]
    pub(super) fn parse(cert: &LoadedFile, key: &LoadedFile, usage: Usage) -> Result<Self, MaterialError> {
        let chain = pem::certificates(cert)?;
        let path = || cert.path.clone();
        let unparsable = |reason: String| MaterialError::Parse { path: path(), reason };
        let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|error| unparsable(error.to_string()))?;
        let (not_before, not_after) = (timestamp(leaf.validity().not_before), timestamp(leaf.validity().not_after));
        let now = Timestamp::now();
        if now > not_after {
            return Err(MaterialError::Expired { path: path(), not_after });
        }
        if now < not_before {
            return Err(MaterialError::NotYetValid { path: path(), not_before });
        }
        let usages = leaf.extended_key_usage().map_err(|error| unparsable(error.to_string()))?;
        // A certificate without this extension may be used for everything.
        let is_allowed = usages.is_none_or(|usages| {
            let usages = usages.value;
            match usage {
                Usage::Server => usages.any || usages.server_auth,
                Usage::Client => usages.any || usages.client_auth,
            }
        });
        if !is_allowed {
            return Err(MaterialError::WrongUsage { path: path(), usage });
        }
        let private_key = pem::private_key(key)?;
        let certified_key =
            CertifiedKey::from_der(chain, private_key, &crypto_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    MaterialError::KeyMismatch { key: key.path.clone(), cert: path() }
                }
                other => MaterialError::InvalidKey { path: key.path.clone(), reason: other.to_string() },
            })?;
        Ok(Self { certified_key: Arc::new(certified_key), not_after })
    }
}

/// Rejects a revocation list that is out of date: with it, every handshake would fail.
pub(super) fn check_revocation_list(file: &LoadedFile, list: &[u8]) -> Result<(), MaterialError> {
    let unparsable = |reason: String| MaterialError::Parse { path: file.path.clone(), reason };
    let (_, list) = CertificateRevocationList::from_der(list).map_err(|error| unparsable(error.to_string()))?;
    match list.next_update().map(timestamp) {
        None => Err(unparsable("the certificate revocation list has no date of its next update".to_owned())),
        Some(next_update) if next_update < Timestamp::now() => {
            Err(MaterialError::RevocationListExpired { path: file.path.clone(), next_update })
        }
        Some(_) => Ok(()),
    }
}

fn timestamp(time: x509_parser::time::ASN1Time) -> Timestamp {
    // Years beyond the range of `Timestamp` count as its last one.
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
}
