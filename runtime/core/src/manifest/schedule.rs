//! [`ManifestSchedule`]: a `[[schedule]]` of a manifest.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::env::Env;
use crate::policy::PolicyRequest;
use crate::retry::RetryPolicy;
use crate::schedule::{CatchUp, Overlap};
use crate::units::{self, DurationSchema};

/// A schedule of the handler: it submits a durable job again and again, or once at a later time. It has exactly one of `cron`, `every` and `at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Schedule")]
pub struct ManifestSchedule {
    /// The name of the schedule. Default: the name of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A cron pattern of five or six fields, or an alias such as `@daily`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time between two jobs.
    #[serde(
        deserialize_with = "units::deserialize_duration",
        serialize_with = "serialize_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<DurationSchema>")]
    pub every: Option<Duration>,
    /// The only time, such as `2030-01-31T12:00:00Z`.
    #[serde(deserialize_with = "deserialize_at", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The IANA name of the time zone of `cron`. Default: UTC.
    #[serde(alias = "timezone", skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens if earlier jobs have not ended.
    pub overlap: Overlap,
    /// What happens to times that pass while the daemon is not running.
    pub catch_up: CatchUp,
    /// Each job starts at a random time up to this much later.
    #[serde(
        deserialize_with = "units::deserialize_duration",
        serialize_with = "serialize_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<DurationSchema>")]
    pub jitter: Option<Duration>,
    /// Arguments of its jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables of its jobs. They replace those of the manifest.
    #[serde(skip_serializing_if = "Env::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: Env,
    /// Stdin of its jobs, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Stdin of its jobs, as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin_base64: Option<String>,
    /// What its jobs may use, within the policy of the manifest.
    pub policy: PolicyRequest,
    /// Which runs of its jobs are repeated. Default: as the manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Jobs of the handler with a higher priority run first.
    pub priority: i32,
    /// Labels of its jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Jobs of the handler with the same key share a concurrency limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
}

fn serialize_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

/// Reads a time of TOML, or a text.
fn deserialize_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a time such as 2030-01-31T12:00:00Z")]
    enum At {
        Text(String),
        Time(toml::value::Datetime),
    }
    let text = match Option::<At>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(At::Text(text)) => text,
        Some(At::Time(time)) => time.to_string(),
    };
    let failed = |_| {
        let text: String = text.chars().take(100).collect();
        serde::de::Error::custom(format_args!("{text:?} is not a time such as 2030-01-31T12:00:00Z"))
    };
    text.parse().map(Some).map_err(failed)
}
