//! `Server`: the daemon's side. Handshakes are bounded in time and number; material is replaced under way.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use capstan_core::metrics::StaticFamily;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificates::{MaterialError, Own, Usage, check_revocations};
use super::files::{Files, FilesError, Read, Sources};
use super::handshake_limit::Crowd;
use super::stream::Tls;
use super::{VERSIONS, pem, provider};

/// How long a client may take from its connection to the end of the handshake. Default 5 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// Handshakes that go on at a time.
const HANDSHAKES: usize = 512;
/// What is spoken on top, the better first.
pub(super) const H2: &[u8] = b"h2";
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// What became of handshakes, in the order of [`Server::count`].
const RESULTS: [&str; 5] = ["done", "failed", "plain", "late", "crowded"];

/// Handshakes by what became of them.
pub(crate) type Counts = StaticFamily<1, Counter>;

/// TLS for all TCP listeners of a daemon.
#[derive(Debug)]
pub struct Server {
    material: ArcSwap<Material>,
    is_mutual: bool,
    crowd: Crowd,
    counts: Counts,
}

/// What connections are secured with, from their handshake to their end.
#[derive(Debug)]
pub struct Material {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    not_after: Timestamp,
}

/// Why there is no secured connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the client left")]
    Gone,
    /// Nothing was read of it yet.
    #[error("the client does not speak TLS")]
    Plain(TcpStream),
    /// The client has been told, but may not have read it yet.
    #[error("{error}")]
    Failed { error: io::Error, stream: TcpStream },
    #[error("the client was not done within {PATIENCE:?}")]
    Late,
    #[error("{HANDSHAKES} others came after it before the client was done")]
    Crowded,
}

impl Server {
    /// A server with what is in these files; none where none are named.
    ///
    /// # Errors
    /// [`MaterialError`]
    pub fn load(files: &Files, read: impl Fn(&Path) -> io::Result<Read>) -> Result<Option<Arc<Self>>, MaterialError> {
        if files.is_empty() {
            return Ok(None);
        }
        let material = Material::of(&files.read(read)?)?;
        Ok(Some(Arc::new(Self {
            material: ArcSwap::from_pointee(material),
            is_mutual: files.is_mutual(),
            crowd: Crowd::new(HANDSHAKES),
            counts: StaticFamily::new(RESULTS.map(|result| [("result", result)])),
        })))
    }

    /// Secures connections with what is in these files from now on; those that there are stay as they are.
    ///
    /// # Errors
    /// [`MaterialError`]; all stays as it was then.
    pub fn reload(&self, files: &Files, read: impl Fn(&Path) -> io::Result<Read>) -> Result<(), MaterialError> {
        self.material.store(Arc::new(Material::of(&files.read(read)?)?));
        Ok(())
    }

    /// Whether only clients with a certificate are let in.
    pub fn is_mutual(&self) -> bool {
        self.is_mutual
    }

    /// How long its certificate is good.
    pub fn not_after(&self) -> Timestamp {
        self.material.load().not_after
    }

    /// What became of handshakes.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Shakes hands. A client that is slow costs others nothing: there is a bound on its time, and it makes room for those who come after.
    ///
    /// # Errors
    /// [`HandshakeError`]
    pub async fn handshake(&self, stream: TcpStream) -> Result<Tls, HandshakeError> {
        let place = self.crowd.enter();
        let shaken = tokio::select! {
            shaken = timeout(PATIENCE, self.shake(stream)) => shaken.unwrap_or(Err(HandshakeError::Late)),
            () = place.taken_away() => Err(HandshakeError::Crowded),
        };
        self.count(&shaken);
        shaken
    }

    async fn shake(&self, stream: TcpStream) -> Result<Tls, HandshakeError> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1..) => {}
            Ok(_) | Err(_) => return Err(HandshakeError::Gone),
        }
        // So begins a request, and nothing of TLS.
        if first[0].is_ascii_alphabetic() {
            return Err(HandshakeError::Plain(stream));
        }
        let material = self.material.load_full();
        let accept = TlsAcceptor::from(material.config.clone()).accept(stream).into_fallible();
        match accept.await {
            Ok(secured) => {
                let (stream, session) = secured.into_inner();
                Ok(Tls::new(stream, session, material))
            }
            Err((error, stream)) => Err(HandshakeError::Failed { error, stream }),
        }
    }

    fn count(&self, shaken: &Result<Tls, HandshakeError>) {
        let place = match shaken {
            Ok(_) => 0,
            Err(HandshakeError::Gone | HandshakeError::Failed { .. }) => 1,
            Err(HandshakeError::Plain(_)) => 2,
            Err(HandshakeError::Late) => 3,
            Err(HandshakeError::Crowded) => 4,
        };
        self.counts.at(place).inc();
    }
}

impl Material {
    fn of(sources: &Sources) -> Result<Self, MaterialError> {
        let (cert, key) = sources.own.as_ref().ok_or(MaterialError::Other(FilesError::CaWithoutCert.to_string()))?;
        let Own { certified, not_after } = Own::of(cert, key, Usage::Server)?;
        let leaf = certified.cert[0].clone();
        let other = |error: &dyn std::fmt::Display| MaterialError::Other(error.to_string());
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let config = config.expect("the provider knows both versions");
        let config = match &sources.ca {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(pem::roots(ca)?), provider());
                let verifier = match &sources.crl {
                    None => verifier,
                    Some(crl) => {
                        let lists = pem::revocations(crl)?;
                        lists.iter().try_for_each(|list| check_revocations(crl, list))?;
                        verifier.with_crls(lists).enforce_revocation_expiration()
                    }
                };
                config.with_client_cert_verifier(verifier.build().map_err(|error| other(&error))?)
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        // Nothing is taken of a client before it was seen who it is, and nobody is let in for having been there before.
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), leaf, not_after })
    }

    /// Whether the certificate is for this host: no page of another gets a browser to call under that name.
    pub fn is_for(&self, host: &str) -> bool {
        let (Ok(leaf), Ok(name)) = (ParsedCertificate::try_from(&self.leaf), ServerName::try_from(host)) else {
            return false;
        };
        verify_server_name(&leaf, &name).is_ok()
    }
}
