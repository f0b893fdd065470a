//! Durations and sizes as people write them: `"30s"` and `"64MiB"`, or a plain number of seconds and of bytes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Why a text is not a duration or not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a duration such as 30s, 500ms or 1.5 (seconds)")]
    Duration(String),
    #[error("{0:?} is not a size such as 64MiB, 10kB or 1024 (bytes)")]
    Size(String),
}

/// Reads `"1m 30s"`, `"500ms"`, or seconds as a number.
///
/// # Errors
/// [`UnitError::Duration`] for anything else, negative and endless durations among it.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
    .ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// Reads `"64MiB"`, `"10kB"`, or bytes as a number.
///
/// # Errors
/// [`UnitError::Size`] for anything else.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let size = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
    // What does not fit is cut to the largest there is.
    size.filter(|size| *size < u64::MAX).ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// For `#[serde(deserialize_with)]`: an optional duration as a number or as text.
///
/// # Errors
/// As [`duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let value = Option::<NumberOrText>::deserialize(deserializer)?;
    value.map(|value| duration(&value.into_text())).transpose().map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: an optional size as a number or as text.
///
/// # Errors
/// As [`size`].
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<NumberOrText>::deserialize(deserializer)?;
    value.map(|value| size(&value.into_text())).transpose().map_err(serde::de::Error::custom)
}

/// As [`deserialize_duration`], for a limit under which nothing could run at 0.
///
/// # Errors
/// Those too where it is 0: some take that for no limit at all.
pub fn limit_of_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match deserialize_duration(deserializer)? {
        Some(Duration::ZERO) => Err(serde::de::Error::custom("0 is no time to run in; leave the key out for no limit")),
        time => Ok(time),
    }
}

/// As [`deserialize_size`], for a limit under which nothing could run at 0.
///
/// # Errors
/// Those too where it is 0: some take that for no limit at all.
pub fn limit_of_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match deserialize_size(deserializer)? {
        Some(0) => Err(serde::de::Error::custom("0 is no room to run in; leave the key out for no limit")),
        size => Ok(size),
    }
}

/// A duration as it is written, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum Time {
    /// Seconds.
    Number(f64),
    /// For example `500ms`, `30s` or `1m 30s`.
    Text(String),
}

/// A size as it is written, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum Size {
    /// Bytes.
    Number(u64),
    /// For example `64MiB` or `10kB`.
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Whole(u64),
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("1.5", 1_500), ("1m 30s", 90_000), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "inf", "nan", "1e400", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64MiB", 64 << 20), ("10kB", 10_000), ("1024", 1024), ("0", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "MiB", "12 parsecs"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
