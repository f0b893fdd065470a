//! What is in a file of PEM, by kind.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::certificates::MaterialError;
use super::files::Source;

/// Permission bits of a key by which anyone on the machine could use it.
const OTHERS: u32 = 0o007;

/// The certificates of a file, in their order; at least one.
pub(super) fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let certificates = all(source)?;
    if certificates.is_empty() {
        return Err(MaterialError::NoCertificate(source.path.clone()));
    }
    Ok(certificates)
}

/// The key of a file, which nobody but its owner and its group may have.
pub(super) fn key(source: &Source) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let path = || source.path.clone();
    if source.read.mode & OTHERS != 0 {
        return Err(MaterialError::Exposed { path: path(), mode: source.read.mode & 0o7777 });
    }
    // Either form says so in text: a label of its own, or a header of the old one.
    if source.read.bytes.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED") {
        return Err(MaterialError::Encrypted(path()));
    }
    all(source)?.into_iter().next().ok_or_else(|| MaterialError::NoKey(path()))
}

/// Those who may have issued certificates; at least one.
pub(super) fn roots(source: &Source) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(source)? {
        let added = roots.add(certificate);
        added.map_err(|error| MaterialError::Unreadable { path: source.path.clone(), why: error.to_string() })?;
    }
    Ok(roots)
}

/// Lists of what was revoked; at least one.
pub(super) fn revocations(source: &Source) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let lists = all(source)?;
    if lists.is_empty() { Err(MaterialError::NoRevocations(source.path.clone())) } else { Ok(lists) }
}

fn all<T: PemObject>(source: &Source) -> Result<Vec<T>, MaterialError> {
    let read: Result<Vec<_>, _> = T::pem_slice_iter(&source.read.bytes).collect();
    read.map_err(|error| MaterialError::Unreadable { path: source.path.clone(), why: error.to_string() })
}
