//! Why files cannot be used for TLS.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use super::usage::Usage;

/// The combination of named files is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    #[error("a TLS certificate needs its private key; name the key with --tls-key")]
    CertWithoutKey,
    #[error("a TLS private key needs its certificate; name the certificate with --tls-cert")]
    KeyWithoutCert,
    #[error(
        "a CA for client certificates needs a certificate for the daemon; name it with --tls-cert and its key with --tls-key"
    )]
    CaWithoutCert,
    #[error("a certificate revocation list needs the CA that issued it; name the CA with --tls-ca")]
    CrlWithoutCa,
    #[error("TLS needs the CA that issued the daemon's certificate; name the CA with --tls-ca or CAPSTAN_TLS_CA")]
    NoCa,
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse {}: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error(
        "private key {file} has mode {mode:04o}, which lets every user of this machine use it; run `chmod o= {file}`",
        file = path.display()
    )]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error(
        "private key {file} is encrypted, and nobody can enter its passphrase; decrypt it with `openssl pkey -in {file} -out PLAIN`",
        file = .0.display()
    )]
    KeyEncrypted(PathBuf),
    #[error("there is no private key in {}", .0.display())]
    NoKey(PathBuf),
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("there is no certificate revocation list in {}", .0.display())]
    NoRevocationList(PathBuf),
    #[error("cannot use the private key in {}: {reason}", path.display())]
    InvalidKey { path: PathBuf, reason: String },
    #[error("the private key in {} is not that of the certificate in {}", key.display(), cert.display())]
    KeyMismatch { key: PathBuf, cert: PathBuf },
    #[error("the certificate in {} expired at {not_after}; renew it", path.display())]
    Expired { path: PathBuf, not_after: Timestamp },
    #[error("the certificate in {} is not valid before {not_before}; check the clock of this machine", path.display())]
    NotYetValid { path: PathBuf, not_before: Timestamp },
    #[error(
        "the certificate in {} may not be used by a {usage}: its extended key usage lacks {}",
        path.display(),
        usage.extended_key_usage()
    )]
    WrongUsage { path: PathBuf, usage: Usage },
    #[error("the certificate revocation list in {} was good until {next_update}; get a newer one from the CA", path.display())]
    RevocationListExpired { path: PathBuf, next_update: Timestamp },
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("cannot check client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
