//! `Client`: the side of TLS that connects, and explanations of its errors that say what to do.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::OwnCertificate;
use super::error::{FilesError, MaterialError};
use super::files::{FileContent, Files};
use super::pem;
use super::protocol::{ALPN_HTTP1, VERSIONS, crypto_provider};
use super::usage::Usage;

/// TLS to servers whose certificates were issued by one of the named CAs.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Creates a client with the content of `files`, which [passed the check](Files::check_client).
    ///
    /// # Errors
    /// [`MaterialError`]
    pub fn load(files: &Files, read: impl Fn(&Path) -> io::Result<FileContent>) -> Result<Self, MaterialError> {
        let files = files.load(read)?;
        let ca = files.ca.as_ref().ok_or(FilesError::NoCa)?;
        let config = trusting(pem::root_store(ca)?);
        Ok(Self::new(match &files.cert_and_key {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let own = OwnCertificate::parse(cert, key, Usage::Client)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified_key)))
            }
        }))
    }

    /// Creates a client that trusts the CAs in `roots`, without those that cannot be used. Returns `None` if none is left.
    pub fn with_roots(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Option<Self> {
        let mut store = RootCertStore::empty();
        let (used, _) = store.add_parsable_certificates(roots);
        (used > 0).then(|| Self::new(trusting(store).with_no_client_auth()))
    }

    fn new(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// Does the handshake on `stream`. The server's certificate must be valid for `host`. There is no timeout.
    ///
    /// # Errors
    /// An error that [`explain`] explains.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

fn trusting(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let config = ClientConfig::builder_with_provider(crypto_provider()).with_protocol_versions(VERSIONS);
    config.expect("the provider supports both versions").with_root_certificates(roots)
}

/// Explains the TLS error among the causes of `error`, as the rest of a sentence about the daemon. Returns `None` if there is none.
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(explain_tls(error));
        }
        // The error inside an `io::Error` is not its `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn explain_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => explain_certificate(error),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "this address does not speak TLS; leave out --tls-ca, or unset CAPSTAN_TLS_CA".to_owned()
        }
        other => other.to_string(),
    }
}

/// Explains why the daemon's certificate was rejected.
fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate was issued by none of those in --tls-ca; name the CA that issued it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clock of this machine".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("its certificate is for {}, and not for {}", presented.join(", "), expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers: its extended key usage lacks serverAuth".to_owned()
        }
        other => format!("its certificate cannot be accepted: {other}"),
    }
}

/// Explains why the daemon rejected the handshake.
fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client certificate; name one with --tls-cert and --tls-key".to_owned()
        }
        AlertDescription::UnknownCA => "it does not know who issued the client certificate".to_owned(),
        AlertDescription::CertificateExpired => "it says that the client certificate is out of date".to_owned(),
        AlertDescription::CertificateRevoked => "it says that the client certificate was revoked".to_owned(),
        AlertDescription::UnsupportedCertificate => {
            "it says that the client certificate is not one for clients".to_owned()
        }
        AlertDescription::BadCertificate | AlertDescription::DecryptError | AlertDescription::CertificateUnknown => {
            "it does not accept the client certificate".to_owned()
        }
        AlertDescription::ProtocolVersion => "it supports neither TLS 1.2 nor TLS 1.3".to_owned(),
        other => format!("it ended the handshake: {other:?}"),
    }
}
