//! A certificate with its key, and whether the other side could accept it.
//!
//! What would make every handshake fail is refused when it is loaded, by a daemon before it binds anything: a daemon that serves nobody,
//! and says so only where somebody reads its log, is worse than one that does not start. On a reload the old stays in its place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::files::Source;
use super::{pem, provider};

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{} is a key that everyone on this machine may use, by its mode {mode:04o}: chmod o= it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the key in {} is encrypted, and nobody is there to type its passphrase: decrypt it with openssl pkey", .0.display())]
    Encrypted(PathBuf),
    #[error("there is no private key in {}", .0.display())]
    NoKey(PathBuf),
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("there is no list of revoked certificates in {}", .0.display())]
    NoRevocations(PathBuf),
    #[error("the key in {} cannot be used: {why}", path.display())]
    BadKey { path: PathBuf, why: String },
    #[error("the key in {} is not that of the certificate in {}", key.display(), cert.display())]
    Mismatch { key: PathBuf, cert: PathBuf },
    #[error("the certificate in {} expired at {at}", path.display())]
    Expired { path: PathBuf, at: Timestamp },
    #[error("the certificate in {} is not valid before {at}; is the clock right?", path.display())]
    NotYet { path: PathBuf, at: Timestamp },
    #[error("the certificate in {} may not be used by a {usage}, by its extended key usage", path.display())]
    Usage { path: PathBuf, usage: Usage },
    #[error("the list of revoked certificates in {} was good until {at}: get the next", path.display())]
    OldRevocations { path: PathBuf, at: Timestamp },
    #[error("{0}")]
    Other(String),
}

/// What a certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
}

/// A certificate that can be used.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) not_after: Timestamp,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

impl Own {
    /// The certificate of one file with the key of another, if it can be used for this, now.
    ///
    /// # Errors
    /// [`MaterialError`]
    pub(super) fn of(cert: &Source, key: &Source, usage: Usage) -> Result<Self, MaterialError> {
        let chain = pem::certificates(cert)?;
        let path = || cert.path.clone();
        let unreadable = |why: String| MaterialError::Unreadable { path: path(), why };
        let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|error| unreadable(error.to_string()))?;
        let (not_before, not_after) = (time(leaf.validity().not_before), time(leaf.validity().not_after));
        let now = Timestamp::now();
        if now > not_after {
            return Err(MaterialError::Expired { path: path(), at: not_after });
        }
        if now < not_before {
            return Err(MaterialError::NotYet { path: path(), at: not_before });
        }
        let usages = leaf.extended_key_usage().map_err(|error| unreadable(error.to_string()))?;
        let fits = usages.is_none_or(|usages| {
            let usages = usages.value;
            match usage {
                Usage::Server => usages.any || usages.server_auth,
                Usage::Client => usages.any || usages.client_auth,
            }
        });
        if !fits {
            return Err(MaterialError::Usage { path: path(), usage });
        }
        let certified = CertifiedKey::from_der(chain, pem::key(key)?, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => MaterialError::Mismatch { key: key.path.clone(), cert: path() },
            other => MaterialError::BadKey { path: key.path.clone(), why: other.to_string() },
        })?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }
}

/// Refuses a list that is not good any more: with it, nobody would be let in.
pub(super) fn check_revocations(source: &Source, list: &[u8]) -> Result<(), MaterialError> {
    let unreadable = |why: String| MaterialError::Unreadable { path: source.path.clone(), why };
    let (_, list) = CertificateRevocationList::from_der(list).map_err(|error| unreadable(error.to_string()))?;
    match list.next_update().map(time) {
        None => Err(unreadable("the list of revoked certificates does not say how long it is good".to_owned())),
        Some(at) if at < Timestamp::now() => Err(MaterialError::OldRevocations { path: source.path.clone(), at }),
        Some(_) => Ok(()),
    }
}

fn time(time: x509_parser::time::ASN1Time) -> Timestamp {
    // Years that cannot be told are as far off as the last that can.
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
}
