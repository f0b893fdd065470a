//! Parses PEM files, by the kind of their content.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::MaterialError;
use super::files::LoadedFile;

/// The permission bits that let every user of the machine use a private key.
const OTHERS: u32 = 0o007;

/// Parses certificates and keeps their order. Returns at least one.
pub(super) fn certificates(file: &LoadedFile) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let certificates = parse_all(file)?;
    if certificates.is_empty() {
        return Err(MaterialError::NoCertificate(file.path.clone()));
    }
    Ok(certificates)
}

/// Parses a private key. Its file may be accessible to its owner and its group only.
pub(super) fn private_key(file: &LoadedFile) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let path = || file.path.clone();
    if file.content.mode & OTHERS != 0 {
        return Err(MaterialError::KeyExposed { path: path(), mode: file.content.mode & 0o7777 });
    }
    // Both encrypted formats contain this word: PKCS #8 in the label, and the older one in a header.
    if file.content.bytes.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED") {
        return Err(MaterialError::KeyEncrypted(path()));
    }
    parse_all(file)?.into_iter().next().ok_or_else(|| MaterialError::NoKey(path()))
}

/// Parses the certificates of CAs. Returns at least one.
pub(super) fn root_store(file: &LoadedFile) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| parse_error(file, &error))?;
    }
    Ok(roots)
}

/// Parses certificate revocation lists. Returns at least one.
pub(super) fn revocation_lists(file: &LoadedFile) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let lists = parse_all(file)?;
    if lists.is_empty() { Err(MaterialError::NoRevocationList(file.path.clone())) } else { Ok(lists) }
}

fn parse_all<T: PemObject>(file: &LoadedFile) -> Result<Vec<T>, MaterialError> {
    let items: Result<Vec<_>, _> = T::pem_slice_iter(&file.content.bytes).collect();
    items.map_err(|error| parse_error(file, &error))
}

fn parse_error(file: &LoadedFile, error: &dyn std::fmt::Display) -> MaterialError {
    MaterialError::Parse { path: file.path.clone(), reason: error.to_string() }
}
