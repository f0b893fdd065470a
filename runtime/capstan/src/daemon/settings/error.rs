//! `SettingsError`: what is wrong with the flags or the configuration file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use capstan_api::{AccessLogFormatError, AllowedHostsError};
use capstan_listen::listenbuffer::UnknownStartupPolicy;
use capstan_listen::listener::{AddressError, Host, PermissionsError};
use capstan_listen::tls;

use super::webhooks::WebhookTableError;

/// What is wrong with the flags or the configuration file.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum SettingsError {
    #[error("cannot read configuration file {}: {source}; check --config", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration file {}: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("hosts (-H): {0}")]
    Address(#[from] AddressError),
    #[error("hosts (-H): {0} is named twice; name each address once")]
    DuplicateHost(Host),
    #[error("listen.socket_mode (--socket-mode): {0}")]
    SocketMode(PermissionsError),
    #[error("listen.socket_group (--socket-group): {0}")]
    SocketGroup(PermissionsError),
    #[error(transparent)]
    Tls(#[from] tls::FilesError),
    #[error("boot.policy (--while-booting): {0}")]
    StartupPolicy(#[from] UnknownStartupPolicy),
    #[error(
        "boot.deadline (--boot-deadline) is 0, and no start is that fast; give the start some time, for example 5m"
    )]
    ZeroDeadline,
    #[error("there is no default data directory, because neither HOME nor XDG_STATE_HOME is set; name one with --data")]
    NoDataDir,
    #[error("policy.mounts is not a setting of the daemon; give each mount a section [mounts.NAME]")]
    MountsInPolicy,
    #[error("policy.secrets is not a setting of the daemon; give each secret a section [secrets.NAME]")]
    SecretsInPolicy,
    #[error(
        "secrets.{0} needs exactly one source: `file`, `env`, or `credential`, whose name must not contain a slash"
    )]
    SecretSource(String),
    #[error("{key} = {value} is out of range; set it to a value from {min} to {max}")]
    OutOfRange { key: String, value: String, min: String, max: String },
    #[error("webhooks.{name}: {source}")]
    Webhook { name: String, source: WebhookTableError },
    #[error("access_log.format (--access-log-format): {0}")]
    AccessLogFormat(#[from] AccessLogFormatError),
    #[error("[http]: {0}")]
    AllowedHosts(#[from] AllowedHostsError),
}

/// Checks that the value of `key` is in `range`, which the error message names.
///
/// # Errors
/// [`SettingsError::OutOfRange`]
pub(super) fn check_range<N: PartialOrd + Display>(
    key: &str,
    value: N,
    range: &RangeInclusive<N>,
) -> Result<N, SettingsError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (min, max) = (range.start().to_string(), range.end().to_string());
    Err(SettingsError::OutOfRange { key: key.to_owned(), value: value.to_string(), min, max })
}
