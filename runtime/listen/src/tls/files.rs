//! The files that an operator or a user named, and their content.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{FilesError, MaterialError};

/// The paths of the named files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The own certificate, followed by its intermediate certificates.
    pub cert: Option<PathBuf>,
    /// The private key of that certificate.
    pub key: Option<PathBuf>,
    /// The CAs that may have issued the certificate of the other side.
    pub ca: Option<PathBuf>,
    /// The certificate revocation lists of these CAs.
    pub crl: Option<PathBuf>,
}

/// The content of a file, and its mode.
#[derive(Debug)]
pub struct FileContent {
    pub bytes: Vec<u8>,
    /// The permission bits.
    pub mode: u32,
}

/// A file that was read, with the path that error messages name.
#[derive(Debug)]
pub(super) struct LoadedFile {
    pub(super) path: PathBuf,
    pub(super) content: FileContent,
}

/// The content of all named files.
#[derive(Debug)]
pub(crate) struct LoadedFiles {
    pub(super) cert_and_key: Option<(LoadedFile, LoadedFile)>,
    pub(super) ca: Option<LoadedFile>,
    pub(super) crl: Option<LoadedFile>,
}

impl Files {
    /// Returns whether no file is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether a daemon with these files requires client certificates.
    pub(crate) fn is_mutual(&self) -> bool {
        self.ca.is_some()
    }

    /// Checks that a daemon can use this combination of files. No files at all is valid, and turns TLS off.
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

    /// Checks that a client can use this combination of files.
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

    /// Reads all files with `read`, which has the authority of the caller.
    ///
    /// # Errors
    /// [`MaterialError::Read`]
    pub(crate) fn load(&self, read: impl Fn(&Path) -> io::Result<FileContent>) -> Result<LoadedFiles, MaterialError> {
        let load = |path: &PathBuf| match read(path) {
            Ok(content) => Ok(LoadedFile { path: path.clone(), content }),
            Err(source) => Err(MaterialError::Read { path: path.clone(), source }),
        };
        let cert_and_key = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((load(cert)?, load(key)?)),
            _ => None,
        };
        let (ca, crl) = (self.ca.as_ref().map(load).transpose()?, self.crl.as_ref().map(load).transpose()?);
        Ok(LoadedFiles { cert_and_key, ca, crl })
    }
}
