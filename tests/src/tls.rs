//! Certificates created for a test, and the TLS configuration of clients.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The usual purposes of certificates.
pub const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
pub const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    own: String,
    /// The certificates that a leaf presents after its own, in PEM: all authorities except the root, which the peer knows or does not trust.
    chain: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate and its issuers except for the root, in PEM.
    pub chain: String,
    /// The key, in PEM.
    pub key: String,
    serial: SerialNumber,
}

impl Authority {
    /// Creates a root authority.
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let own = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), own, chain: String::new() }
    }

    /// Creates an intermediate authority, issued by this one.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority(name), KeyPair::generate().unwrap());
        change(&mut params);
        let own = params.signed_by(&key, &self.issuer).unwrap().pem();
        let chain = own.clone() + &self.chain;
        Self { issuer: Issuer::new(params, key), own, chain }
    }

    /// Returns the certificate of the authority, in PEM.
    pub fn pem(&self) -> &str {
        &self.own
    }

    /// Issues a certificate for a server at `localhost`, `127.0.0.1` and `::1`.
    pub fn server(&self) -> Leaf {
        self.issue(SERVER, |_| {})
    }

    /// Issues a certificate for a client of this name, as a URI and as a host.
    pub fn client(&self, name: &str) -> Leaf {
        self.issue(CLIENT, |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            let (uri, host) = (format!("spiffe://test/{name}"), format!("{name}.test"));
            params.subject_alt_names =
                vec![SanType::DnsName(host.try_into().unwrap()), SanType::URI(uri.try_into().unwrap())];
        })
    }

    /// Issues a certificate for `usage`, with parameters that `change` modifies.
    pub fn issue(&self, usage: ExtendedKeyUsagePurpose, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let (params, key) = leaf(usage, change);
        let own = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf::of(own + &self.chain, &key, params)
    }

    /// Returns a revocation list of `leaves` that is valid until the year 4000, in PEM.
    pub fn revoked(&self, leaves: &[&Leaf]) -> String {
        self.revoked_until(leaves, 4000)
    }

    /// Like [`Authority::revoked`], but valid until `year`.
    pub fn revoked_until(&self, leaves: &[&Leaf], year: i32) -> String {
        let revoked = leaves.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Leaf {
    /// Creates a self-signed certificate.
    pub fn self_signed(usage: ExtendedKeyUsagePurpose) -> Self {
        let (params, key) = leaf(usage, |_| {});
        let own = params.self_signed(&key).unwrap().pem();
        Self::of(own, &key, params)
    }

    fn of(chain: String, key: &KeyPair, params: CertificateParams) -> Self {
        let serial = params.serial_number.expect("every leaf has one");
        Self { chain, key: key.serialize_pem(), serial }
    }

    /// Writes the certificate to `NAME.pem` and the key to `NAME.key`, which only its owner can read.
    pub fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let key = folder.join(format!("{name}.key"));
        replace(&key, &self.key);
        [write(folder, &format!("{name}.pem"), &self.chain), key]
    }
}

/// Replaces a file in a directory atomically.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    replace(&path, text);
    path
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).unwrap();
    io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    fs::rename(new, path).unwrap();
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(usage: ExtendedKeyUsagePurpose, change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let (mut params, key) = (CertificateParams::new(hosts).unwrap(), KeyPair::generate().unwrap());
    let serial: [u8; 8] = key.public_key_raw()[1..9].try_into().unwrap();
    params.serial_number = Some(SerialNumber::from(u64::from_be_bytes(serial) >> 1));
    params.extended_key_usages = vec![usage];
    change(&mut params);
    (params, key)
}

/// Returns a client configuration that trusts `ca` and presents `own`. It supports TLS 1.2, TLS 1.3 and HTTP/1.1.
pub fn config(ca: &Authority, own: Option<&Leaf>) -> ClientConfig {
    config_of(ca, own, rustls::ALL_VERSIONS)
}

/// Like [`config`], but supports only these versions.
pub fn config_of(ca: &Authority, own: Option<&Leaf>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_root_certificates(roots);
    match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Performs a TLS handshake with `localhost` over any stream.
///
/// # Errors
/// If the handshake fails.
pub async fn connect<S>(config: ClientConfig, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from("localhost").unwrap();
    crate::within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Returns the alert with which the server rejects this client.
///
/// # Panics
/// If the server accepts the client or closes the connection without an alert.
pub async fn refusal<S>(config: ClientConfig, stream: S) -> AlertDescription
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let error = match connect(config, stream).await {
        Err(error) => error,
        // With TLS 1.3 the client finishes the handshake before the server has checked its certificate.
        Ok(mut stream) => {
            crate::within("an alert", stream.read_u8()).await.expect_err("the server must reject the client")
        }
    };
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error:?} is not an alert"),
    }
}
