//! [`TrustedRoots`]: the certificates that servers of outbound requests must be issued by.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use capstan_core::policy::HttpHost;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use crate::network::MeteredStream;

/// The protocol of HTTP/2 in ALPN.
pub(super) const HTTP2: &[u8] = b"h2";

/// The certificates that servers of outbound requests must be issued by. The default trusts none, so that requests with `https` fail.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoots(Option<Arc<ClientConfig>>);

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoots {
    #[error("not a certificate in PEM form: {0}")]
    Pem(String),
    #[error("there is no usable certificate")]
    None,
}

impl TrustedRoots {
    /// Trusts `certificates`. Leaves out those that the library cannot use.
    ///
    /// # Errors
    /// [`InvalidRoots::None`]
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, InvalidRoots> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(InvalidRoots::None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        // A session that is resumed would tell the server that two handlers run on the same machine.
        config.resumption = Resumption::disabled();
        Ok(Self(Some(Arc::new(config))))
    }

    /// Trusts the certificates of a PEM file.
    ///
    /// # Errors
    /// [`InvalidRoots`]
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidRoots> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        Self::new(certificates.map_err(|error| InvalidRoots::Pem(error.to_string()))?)
    }

    /// Returns `stream` after the handshake with `host`, and whether the server chose HTTP/2.
    ///
    /// # Errors
    /// The error for the guest.
    pub(super) async fn handshake(
        &self,
        host: &HttpHost,
        stream: MeteredStream,
    ) -> Result<(TlsStream<MeteredStream>, bool), Error> {
        let config = self.0.clone().ok_or(Error::ConfigurationError)?;
        let name = match host {
            HttpHost::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| Error::TlsProtocolError)?,
            HttpHost::Address(address) => ServerName::IpAddress(IpAddr::into(*address)),
        };
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| to_guest_error(&error))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((stream, is_http2))
    }
}

fn to_guest_error(error: &io::Error) -> Error {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}
