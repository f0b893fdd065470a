//! The files that an operator or a user names, and their bytes.

use std::io;
use std::path::{Path, PathBuf};

use super::certificates::MaterialError;

/// The files that were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The own certificate, with those that issued it after it.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// Who may have issued the certificate of the other side.
    pub ca: Option<PathBuf>,
    /// What those have revoked since.
    pub crl: Option<PathBuf>,
}

/// Files that make no sense without others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    #[error("a TLS certificate needs its key: name it with --tls-key")]
    CertWithoutKey,
    #[error("a TLS key needs its certificate: name it with --tls-cert")]
    KeyWithoutCert,
    #[error(
        "a TLS CA for client certificates needs a certificate of the daemon's own: name it with --tls-cert and --tls-key"
    )]
    CaWithoutCert,
    #[error("a list of revoked certificates needs the CA that revoked them: name it with --tls-ca")]
    CrlWithoutCa,
    #[error("to speak TLS with a daemon, name the CA that issued its certificate with --tls-ca or CAPSTAN_TLS_CA")]
    NoCa,
}

/// A file that was read.
#[derive(Debug)]
pub struct Read {
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// A file that was named, and what is in it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) read: Read,
}

/// What is in the files that were named.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(super) own: Option<(Source, Source)>,
    pub(super) ca: Option<Source>,
    pub(super) crl: Option<Source>,
}

impl Files {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a daemon with these asks its clients for certificates.
    pub(crate) fn is_mutual(&self) -> bool {
        self.ca.is_some()
    }

    /// Whether a daemon can do with them; none at all is TLS that is off.
    ///
    /// # Errors
    /// [`FilesError`]
    pub fn check_server(&self) -> Result<(), FilesError> {
        self.check_pair()?;
        match self {
            Self { cert: None, ca: Some(_), .. } => Err(FilesError::CaWithoutCert),
            Self { ca: None, crl: Some(_), .. } => Err(FilesError::CrlWithoutCa),
            _ => Ok(()),
        }
    }

    /// Whether a client can do with them.
    ///
    /// # Errors
    /// [`FilesError`]
    pub fn check_client(&self) -> Result<(), FilesError> {
        self.check_pair()?;
        if self.ca.is_none() { Err(FilesError::NoCa) } else { Ok(()) }
    }

    fn check_pair(&self) -> Result<(), FilesError> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Err(FilesError::CertWithoutKey),
            (None, Some(_)) => Err(FilesError::KeyWithoutCert),
            _ => Ok(()),
        }
    }

    /// Reads them all, with the authority of the caller.
    ///
    /// # Errors
    /// [`MaterialError::Read`]
    pub(crate) fn read(&self, read: impl Fn(&Path) -> io::Result<Read>) -> Result<Sources, MaterialError> {
        let source = |path: &PathBuf| match read(path) {
            Ok(read) => Ok(Source { path: path.clone(), read }),
            Err(source) => Err(MaterialError::Read { path: path.clone(), source }),
        };
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((source(cert)?, source(key)?)),
            _ => None,
        };
        let (ca, crl) = (self.ca.as_ref().map(source).transpose()?, self.crl.as_ref().map(source).transpose()?);
        Ok(Sources { own, ca, crl })
    }
}
