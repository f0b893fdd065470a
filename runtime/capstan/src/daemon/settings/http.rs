//! The table `[http]` of the configuration file: limits on HTTP clients, and the names and origins that may call.

use std::time::Duration;

use capstan_api::{AllowedHosts, AllowedHostsError, HttpLimits};
use capstan_core::units;
use serde::Deserialize;

use super::error::{SettingsError, check_range};

/// The shortest timeout.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The longest timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpTable {
    connections: Option<usize>,
    connections_per_peer: Option<usize>,
    streams: Option<u32>,
    #[serde(deserialize_with = "units::deserialize_size")]
    head: Option<u64>,
    headers: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    head_timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    body_timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_size")]
    body_rate: Option<u64>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    answer_timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_duration")]
    stream_timeout: Option<Duration>,
    names: Vec<String>,
    origins: Vec<String>,
}

impl HttpTable {
    /// Returns the limits on clients.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`]
    pub(super) fn limits(&self) -> Result<HttpLimits, SettingsError> {
        let default = HttpLimits::default();
        let connections = number("connections", self.connections, default.connections, 1, 1_000_000)?;
        Ok(HttpLimits {
            connections,
            connections_per_peer: number("connections_per_peer", self.connections_per_peer, connections, 1, 1_000_000)?,
            streams: number("streams", self.streams, default.streams, 1, 10_000)?,
            // The requests of the `capstan` command must fit.
            head: number("head", self.head, default.head, 4 << 10, 1 << 20)?,
            headers: number("headers", self.headers, default.headers, 16, 10_000)?,
            head_timeout: timeout("head_timeout", self.head_timeout, default.head_timeout)?,
            idle_timeout: timeout("idle_timeout", self.idle_timeout, default.idle_timeout)?,
            body_timeout: timeout("body_timeout", self.body_timeout, default.body_timeout)?,
            body_rate: self.body_rate.unwrap_or(default.body_rate),
            answer_timeout: timeout("answer_timeout", self.answer_timeout, default.answer_timeout)?,
            stream_timeout: timeout("stream_timeout", self.stream_timeout, default.stream_timeout)?,
        })
    }

    /// Returns the names and origins that may call over TCP.
    ///
    /// # Errors
    /// [`AllowedHostsError`]
    pub(super) fn allowed_hosts(self) -> Result<AllowedHosts, AllowedHostsError> {
        AllowedHosts::new(self.names, self.origins)
    }
}

/// Returns the value of `http.{key}`, or `default` if it is absent.
fn number<G, N>(key: &str, value: Option<G>, default: N, min: u64, max: u64) -> Result<N, SettingsError>
where
    G: TryInto<u64> + Copy,
    N: TryFrom<u64>,
{
    let Some(value) = value else { return Ok(default) };
    let value = check_range(&format!("http.{key}"), value.try_into().unwrap_or(u64::MAX), &(min..=max))?;
    Ok(N::try_from(value).unwrap_or_else(|_| unreachable!("the range fits the type")))
}

/// Returns the value of `http.{key}`, or `default` if it is absent.
fn timeout(key: &str, value: Option<Duration>, default: Duration) -> Result<Duration, SettingsError> {
    let Some(value) = value else { return Ok(default) };
    if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&value) {
        return Ok(value);
    }
    let text = |duration| humantime::format_duration(duration).to_string();
    let (value, min, max) = (text(value), text(MIN_TIMEOUT), text(MAX_TIMEOUT));
    Err(SettingsError::OutOfRange { key: format!("http.{key}"), value, min, max })
}
