//! The table `[http]` of the configuration file: what clients may take of the HTTP layer, and who may call.

use std::time::Duration;

use capstan_api::{AllowedHosts, AllowedHostsError, HttpLimits};
use capstan_core::units;
use serde::Deserialize;

use super::SettingsError;

/// The longest that a client may be given for anything.
const DAY: Duration = Duration::from_secs(86_400);

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
    /// What clients may take.
    ///
    /// # Errors
    /// [`SettingsError::Http`], [`SettingsError::HttpTime`].
    pub(super) fn bounds(&self) -> Result<HttpLimits, SettingsError> {
        let default = HttpLimits::default();
        let connections = number("connections", self.connections, default.connections, 1, 1_000_000)?;
        Ok(HttpLimits {
            connections,
            connections_per_peer: number("connections_per_peer", self.connections_per_peer, connections, 1, 1_000_000)?,
            streams: number("streams", self.streams, default.streams, 1, 10_000)?,
            // What the daemon's own command sends needs some room.
            head: number("head", self.head, default.head, 4 << 10, 1 << 20)?,
            headers: number("headers", self.headers, default.headers, 16, 10_000)?,
            head_timeout: time("head_timeout", self.head_timeout, default.head_timeout)?,
            idle_timeout: time("idle_timeout", self.idle_timeout, default.idle_timeout)?,
            body_timeout: time("body_timeout", self.body_timeout, default.body_timeout)?,
            body_rate: self.body_rate.unwrap_or(default.body_rate),
            answer_timeout: time("answer_timeout", self.answer_timeout, default.answer_timeout)?,
            stream_timeout: time("stream_timeout", self.stream_timeout, default.stream_timeout)?,
        })
    }

    /// Who may call over TCP.
    ///
    /// # Errors
    /// [`AllowedHostsError`]
    pub(super) fn callers(self) -> Result<AllowedHosts, AllowedHostsError> {
        AllowedHosts::new(self.names, self.origins)
    }
}

/// The number that is given, or the default.
fn number<G, N>(key: &'static str, given: Option<G>, default: N, least: u64, most: u64) -> Result<N, SettingsError>
where
    G: TryInto<u64> + Copy,
    N: TryFrom<u64>,
{
    let Some(given) = given else { return Ok(default) };
    let value = given.try_into().unwrap_or(u64::MAX);
    let wrong = || SettingsError::Http { key, value, least, most };
    if !(least..=most).contains(&value) {
        return Err(wrong());
    }
    N::try_from(value).map_err(|_| wrong())
}

fn time(key: &'static str, given: Option<Duration>, default: Duration) -> Result<Duration, SettingsError> {
    match given {
        None => Ok(default),
        Some(value) if (Duration::from_millis(1)..=DAY).contains(&value) => Ok(value),
        Some(value) => Err(SettingsError::HttpTime { key, value }),
    }
}
