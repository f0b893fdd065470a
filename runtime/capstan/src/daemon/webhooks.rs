//! Makes the webhooks from the settings: reads their keys and the certificates that they trust once.

use std::io;
use std::path::PathBuf;

use capstan_core::secret::{Secret, SecretError};
use capstan_listen::tls;

use super::files;
use super::settings::{Settings, WebhookSettings};
use crate::webhooks::{InvalidKey, SigningKey, Webhook, Webhooks};

/// Why a webhook of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("webhook {name}: {reason}; check [webhooks.{name}] in the configuration file")]
pub(super) struct WebhookError {
    name: String,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot read its secret: {0}")]
    ReadSecret(#[from] io::Error),
    #[error("its secret: {0}")]
    Secret(#[from] SecretError),
    #[error("its secret: {0}")]
    Key(#[from] InvalidKey),
    #[error("tls_ca: {0}")]
    Ca(#[from] tls::MaterialError),
    #[error(
        "its URL uses https, and no certificate that this machine trusts was found ({0}); name the CA of the receiver with tls_ca"
    )]
    NoRoots(String),
}

/// Reads the keys and certificates of all webhooks. Blocks on the disk.
///
/// # Errors
/// [`WebhookError`]
pub(super) fn webhooks(settings: &Settings) -> Result<Webhooks, WebhookError> {
    // Read only once, and only if a webhook needs them.
    let mut of_machine = None;
    let loaded = settings.webhooks.iter().map(|(name, settings)| match load(name, settings, &mut of_machine) {
        Ok(webhook) => Ok((name.clone(), webhook)),
        Err(reason) => Err(WebhookError { name: name.clone(), reason }),
    });
    Ok(Webhooks::new(loaded.collect::<Result<_, _>>()?))
}

fn load(name: &str, settings: &WebhookSettings, of_machine: &mut Option<tls::Client>) -> Result<Webhook, Reason> {
    let (bytes, is_exposed) = files::read_secret(&settings.secret)?;
    if is_exposed {
        tracing::warn!(
            name,
            "users other than its owner can access the file of a webhook's secret; run chmod 600 on it"
        );
    }
    let key = SigningKey::new(&Secret::new(&bytes)?)?;
    let config = settings.config.clone();
    let tls = match (config.endpoint.is_https, &settings.tls_ca, of_machine.clone()) {
        (false, ..) => None,
        (true, Some(ca), _) => Some(trusting(ca.clone())?),
        (true, None, Some(client)) => Some(client),
        (true, None, None) => {
            *of_machine = Some(trusting_as_this_machine()?);
            of_machine.clone()
        }
    };
    Ok(Webhook { config, key, tls })
}

fn trusting(ca: PathBuf) -> Result<tls::Client, Reason> {
    let files = tls::Files { ca: Some(ca), ..tls::Files::default() };
    Ok(tls::Client::load(&files, files::read_tls)?)
}

/// Returns a client that trusts what this machine does: the files of its distribution, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn trusting_as_this_machine() -> Result<tls::Client, Reason> {
    let found = rustls_native_certs::load_native_certs();
    let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let errors = if errors.is_empty() { "there are none".to_owned() } else { errors };
    tls::Client::with_roots(found.certs).ok_or(Reason::NoRoots(errors))
}
