//! `Material`: the certificate and the rules that the daemon's handshakes use.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use super::certificates::{OwnCertificate, check_revocation_list};
use super::error::{FilesError, MaterialError};
use super::files::LoadedFiles;
use super::pem;
use super::protocol::{ALPN_HTTP1, ALPN_HTTP2, VERSIONS, crypto_provider};
use super::usage::Usage;

/// The certificate and the rules of a handshake. A connection keeps them from its handshake to its end.
#[derive(Debug)]
pub struct Material {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    not_after: Timestamp,
}

impl Material {
    /// Parses and checks the files of a daemon.
    ///
    /// # Errors
    /// [`MaterialError`]
    pub(super) fn parse(files: &LoadedFiles) -> Result<Self, MaterialError> {
        let (cert, key) = files.cert_and_key.as_ref().ok_or(FilesError::CaWithoutCert)?;
        let OwnCertificate { certified_key, not_after } = OwnCertificate::parse(cert, key, Usage::Server)?;
        let leaf = certified_key.cert[0].clone();
        let config = ServerConfig::builder_with_provider(crypto_provider()).with_protocol_versions(VERSIONS);
        let config = config.expect("the provider supports both versions");
        let config = match &files.ca {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(pem::root_store(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto_provider());
                let verifier = match &files.crl {
                    None => verifier,
                    Some(crl) => {
                        let lists = pem::revocation_lists(crl)?;
                        lists.iter().try_for_each(|list| check_revocation_list(crl, list))?;
                        verifier.with_crls(lists).enforce_revocation_expiration()
                    }
                };
                config.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key)));
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        // No data before the client is authenticated, and no resumed session: an earlier handshake does not authenticate a client.
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), leaf, not_after })
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns when the certificate expires.
    pub(super) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns whether the certificate is valid for `host`. A browser that calls under another name follows the page of another site.
    pub fn is_for(&self, host: &str) -> bool {
        let (Ok(leaf), Ok(name)) = (ParsedCertificate::try_from(&self.leaf), ServerName::try_from(host)) else {
            return false;
        };
        verify_server_name(&leaf, &name).is_ok()
    }
}
