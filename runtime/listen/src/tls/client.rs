//! `Client`: the command's side, and what went wrong in words that say what to do.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, InvalidMessage};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::{MaterialError, Own, Usage};
use super::files::{Files, FilesError, Read};
use super::server::HTTP1;
use super::{VERSIONS, pem, provider};

/// TLS with daemons that one CA has issued certificates to.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// A client with what is in these files, which have been [checked](Files::check_client).
    ///
    /// # Errors
    /// [`MaterialError`]
    pub fn load(files: &Files, read: impl Fn(&Path) -> io::Result<Read>) -> Result<Self, MaterialError> {
        let sources = files.read(read)?;
        let ca = sources.ca.as_ref().ok_or(MaterialError::Other(FilesError::NoCa.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let config = config.expect("the provider knows both versions").with_root_certificates(pem::roots(ca)?);
        let mut config = match &sources.own {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let own = Own::of(cert, key, Usage::Client)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified)))
            }
        };
        config.alpn_protocols = vec![HTTP1.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with `host`, which the certificate must be for. Without a bound on time.
    ///
    /// # Errors
    /// What [`explain`] explains.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

/// What of TLS is behind an error, if it is that, as the rest of a sentence about the daemon.
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(told(error));
        }
        // An error that was made into one of input and output is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn told(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => wrong(error),
        rustls::Error::AlertReceived(alert) => refused(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there does not speak TLS; leave out --tls-ca, or unset CAPSTAN_TLS_CA".to_owned()
        }
        other => other.to_string(),
    }
}

/// What is wrong with the daemon's certificate.
fn wrong(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate was issued by none of those in --tls-ca".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock right?".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("its certificate is for {}, and not for {}", presented.join(", "), expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers".to_owned()
        }
        other => format!("its certificate cannot be accepted: {other}"),
    }
}

/// Why the daemon has refused.
fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client certificate: name one with --tls-cert and --tls-key".to_owned()
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
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that is spoken here".to_owned(),
        other => format!("it ended the handshake: {other:?}"),
    }
}
