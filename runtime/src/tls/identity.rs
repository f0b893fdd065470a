//! `Identity`: who a certificate says somebody is, after it was verified.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Who a certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// What it is to be known by: the URIs of its subject alternative names, then the DNS names. May be empty.
    pub names: Vec<String>,
    /// Its subject, for people to read: anyone may have the same.
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

impl Identity {
    /// As the certificate says, in DER; `None` where it cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok()?;
        let alternatives = alternatives.map_or(&[][..], |names| &names.value.general_names);
        let uris = alternatives.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        let hosts = alternatives.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) => Some((*host).to_owned()),
            _ => None,
        });
        Some(Self {
            names: uris.chain(hosts).collect(),
            subject: certificate.subject().to_string(),
            fingerprint: Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.names.first().unwrap_or(&self.subject);
        write!(formatter, "{name} (sha256:{})", &self.fingerprint[..16])
    }
}
