//! `WebhookTable`: a section `[webhooks.NAME]` of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use capstan_core::outcome::Outcome;
use capstan_core::retry::{RetryPolicy, RetryPolicyError};
use capstan_core::units;
use capstan_engine::handler::{HandlerName, InvalidName};
use capstan_engine::job_store::Requirement;
use serde::Deserialize;

use super::source::SourceTable;
use crate::daemon::files::SecretSource;
use crate::webhooks::{ALL_HANDLERS, HANDLER, InvalidUrl, WebhookConfig, retry_policy};

/// The default limit on the time of a request, and the range of the limit.
const TIMEOUT: Duration = Duration::from_secs(10);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// A webhook, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookTable {
    url: String,
    secret: SourceTable,
    handlers: Vec<String>,
    #[serde(default = "any_end")]
    on: Requirement,
    #[serde(default, deserialize_with = "units::deserialize_duration")]
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    tls_ca: Option<PathBuf>,
}

fn any_end() -> Requirement {
    Requirement::End
}

/// A webhook, checked, and where the daemon reads its key and the certificates that it trusts.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::daemon) struct WebhookSettings {
    pub(in crate::daemon) config: WebhookConfig,
    pub(in crate::daemon) secret: SecretSource,
    /// The CAs of the receiver. `None` stands for those that this machine trusts.
    pub(in crate::daemon) tls_ca: Option<PathBuf>,
}

/// What is wrong with a section `[webhooks.NAME]`.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum WebhookTableError {
    #[error("the name of the section {0}")]
    Name(InvalidName),
    /// The URL is not shown, because it may be a secret.
    #[error("url: {0}")]
    Url(#[from] InvalidUrl),
    #[error("secret needs exactly one source: `file`, `env`, or `credential`, whose name must not contain a slash")]
    SecretSource,
    #[error("handlers is empty, so nothing would be delivered; name handlers, or \"*\" for all")]
    NoHandlers,
    #[error("handlers: {0}; \"*\" stands for all")]
    Handler(InvalidName),
    #[error("handlers names {HANDLER}: the ends of deliveries are not delivered")]
    OwnHandler,
    #[error("on names the outcome {name:?}, which does not exist; use one of {}", Outcome::KINDS.join(", "))]
    Outcome { name: String },
    #[error("on.outcome is empty, so nothing would be delivered; name outcomes")]
    NoOutcome,
    #[error("timeout is {0:?}; set it to a time from {MIN_TIMEOUT:?} to {MAX_TIMEOUT:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Retry(#[from] RetryPolicyError),
    #[error("tls_ca is set, and the URL does not start with https://")]
    CaWithoutTls,
}

/// Checks all webhooks. Returns the name of the first that is wrong, with the error.
pub(super) fn check(
    tables: BTreeMap<String, WebhookTable>,
) -> Result<BTreeMap<String, WebhookSettings>, (String, WebhookTableError)> {
    let checked = tables.into_iter().map(|(name, table)| {
        let named = HandlerName::new(&name).map_err(WebhookTableError::Name).map(drop);
        match named.and_then(|()| table.check()) {
            Ok(settings) => Ok((name, settings)),
            Err(error) => Err((name, error)),
        }
    });
    checked.collect()
}

impl WebhookTable {
    fn check(self) -> Result<WebhookSettings, WebhookTableError> {
        let Self { url, secret, handlers, on, timeout, retry, tls_ca } = self;
        let config = WebhookConfig {
            endpoint: url.parse()?,
            handlers: check_handlers(handlers)?,
            on: check_requirement(on)?,
            timeout: timeout.unwrap_or(TIMEOUT),
            retry: retry_policy(retry),
        };
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&config.timeout) {
            return Err(WebhookTableError::Timeout(config.timeout));
        }
        config.retry.check()?;
        if tls_ca.is_some() && !config.endpoint.is_https {
            return Err(WebhookTableError::CaWithoutTls);
        }
        Ok(WebhookSettings { config, secret: secret.source().ok_or(WebhookTableError::SecretSource)?, tls_ca })
    }
}

fn check_handlers(handlers: Vec<String>) -> Result<Vec<String>, WebhookTableError> {
    if handlers.is_empty() {
        return Err(WebhookTableError::NoHandlers);
    }
    for handler in handlers.iter().filter(|handler| *handler != ALL_HANDLERS) {
        HandlerName::new(handler).map_err(WebhookTableError::Handler)?;
        if handler == HANDLER {
            return Err(WebhookTableError::OwnHandler);
        }
    }
    Ok(handlers)
}

fn check_requirement(on: Requirement) -> Result<Requirement, WebhookTableError> {
    if let Requirement::Outcome(kinds) = &on {
        if let Some(unknown) = kinds.iter().find(|kind| !Outcome::KINDS.contains(&kind.as_str())) {
            return Err(WebhookTableError::Outcome { name: unknown.clone() });
        }
        if kinds.is_empty() {
            return Err(WebhookTableError::NoOutcome);
        }
    }
    Ok(on)
}
