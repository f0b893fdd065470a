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
    #[error("0 is no time to run in; leave it out for no limit")]
    NoTime,
    #[error("0 is no room to run in; leave it out for no limit")]
    NoRoom,
}

/// Reads `"1m 30s"`, `"500ms"`, or seconds as a number.
///
/// # Errors
/// [`UnitError::Duration`] for anything else, negative and endless durations among it.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    let read = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    // It is kept and told as a number of seconds, so it is what such a number can say: beyond some weeks not every nanosecond, and not
    // all that a `Duration` could.
    let told = read.and_then(|duration| Duration::try_from_secs_f64(duration.as_secs_f64()).ok());
    told.ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// As [`duration`], for a limit under which nothing could run at 0.
///
/// # Errors
/// [`UnitError::NoTime`] too: some take 0 for no limit at all.
pub fn time_limit(text: &str) -> Result<Duration, UnitError> {
    duration(text).and_then(|time| if time.is_zero() { Err(UnitError::NoTime) } else { Ok(time) })
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

/// As [`size`], for a limit under which nothing could run at 0.
///
/// # Errors
/// [`UnitError::NoRoom`] too: some take 0 for no limit at all.
pub fn size_limit(text: &str) -> Result<u64, UnitError> {
    size(text).and_then(|size| if size == 0 { Err(UnitError::NoRoom) } else { Ok(size) })
}

/// For `#[serde(deserialize_with)]`: an optional duration as a number or as text.
///
/// # Errors
/// As [`duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer, duration)
}

/// For `#[serde(deserialize_with)]`: an optional size as a number or as text.
///
/// # Errors
/// As [`size`].
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer, size)
}

/// As [`deserialize_duration`], of a [`time_limit`].
///
/// # Errors
/// As that.
pub fn limit_of_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer, time_limit)
}

/// As [`deserialize_size`], of a [`size_limit`].
///
/// # Errors
/// As that.
pub fn limit_of_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer, size_limit)
}

fn deserialize<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: fn(&str) -> Result<T, UnitError>,
) -> Result<Option<T>, D::Error> {
    let value = Option::<NumberOrText>::deserialize(deserializer)?;
    value.map(|value| read(&value.into_text())).transpose().map_err(serde::de::Error::custom)
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
        for text in ["", "-1", "inf", "nan", "1e400", "5 parsecs", "18446744073709551615s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_what_a_number_of_seconds_can_say() {
        let longest = ["9221372036854755807s", "18446744073709549568"];
        for text in ["1ns", "0.1", "1h 1ns", "97days 1ns", "100days 1ns", "31y 7ns"].into_iter().chain(longest) {
            let read = duration(text).unwrap();
            assert_eq!(duration(&read.as_secs_f64().to_string()), Ok(read), "{text}");
            let kept = serde_json::to_string(&read.as_secs_f64()).unwrap();
            let again = deserialize_duration(&mut serde_json::Deserializer::from_str(&kept)).unwrap();
            assert_eq!(again, Some(read), "{text} as JSON, {kept}");
        }
    }

    #[test]
    fn a_limit_is_not_nothing() {
        assert_eq!((time_limit("0s"), size_limit("0")), (Err(UnitError::NoTime), Err(UnitError::NoRoom)));
        assert_eq!((time_limit("1ms"), size_limit("1")), (Ok(Duration::from_millis(1)), Ok(1)));
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
