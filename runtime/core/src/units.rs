//! Durations and sizes as people write them: `"30s"` and `"64MiB"`, or a plain number of seconds or bytes.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// The digits of a number that is a time rather than a duration. So many seconds are 31 years, and since 1970 it is the year 2001.
const UNIX_TIME_DIGITS: usize = 10;

/// The text is not a duration or not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a duration such as 30s, 500ms or 1.5 (seconds)")]
    Duration(String),
    #[error("{0:?} is not a size such as 64MiB, 10kB or 1024 (bytes)")]
    Size(String),
    #[error("a time limit of 0 leaves no time to run; omit it to use the default")]
    ZeroTime,
    #[error("a size limit of 0 leaves no room to run; omit it to use the default")]
    ZeroSize,
}

/// Parses a duration: `"1m 30s"`, `"500ms"`, or a number of seconds.
///
/// # Errors
/// [`UnitError::Duration`] for anything else, including negative and infinite durations.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    // Durations are stored and reported as a floating-point number of seconds. Rounds to such a number, which cannot represent every
    // nanosecond beyond some weeks, nor every `Duration`.
    let rounded = parsed.and_then(|duration| Duration::try_from_secs_f64(duration.as_secs_f64()).ok());
    rounded.ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// Parses a point in time: RFC 3339, the seconds since 1970 if the number has 10 digits or more, or a [`duration`] before `now`. `None` for
/// anything else.
pub fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if is_unix_time(text) {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let nanos = format!("{fraction:0<9.9}").parse().ok()?;
        return Timestamp::new(whole.parse().ok()?, nanos).ok();
    }
    now.checked_sub(duration(text).ok()?).ok()
}

/// Returns whether [`time`] takes `text` for seconds since 1970, and not for how long ago it was.
pub fn is_unix_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    whole.len() >= UNIX_TIME_DIGITS && is_number(whole) && is_number(fraction)
}

/// Parses a time limit: a [`duration`] other than 0, under which nothing could run.
///
/// # Errors
/// The errors of [`duration`], and [`UnitError::ZeroTime`], because some people expect 0 to mean no limit.
pub fn time_limit(text: &str) -> Result<Duration, UnitError> {
    duration(text).and_then(|time| if time.is_zero() { Err(UnitError::ZeroTime) } else { Ok(time) })
}

/// Parses a size: `"64MiB"`, `"10kB"`, or a number of bytes.
///
/// # Errors
/// [`UnitError::Size`] for anything else.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let size = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
    // The parser returns the largest number for a size that does not fit.
    size.filter(|size| *size < u64::MAX).ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// Parses a size limit: a [`size`] other than 0, under which nothing could run.
///
/// # Errors
/// The errors of [`size`], and [`UnitError::ZeroSize`], because some people expect 0 to mean no limit.
pub fn size_limit(text: &str) -> Result<u64, UnitError> {
    size(text).and_then(|size| if size == 0 { Err(UnitError::ZeroSize) } else { Ok(size) })
}

/// Formats a duration, as in `1m 30s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Formats a size with a binary unit, as in `64.0 MiB`.
pub fn format_size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Deserializes an optional [`duration`] from a number or text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The errors of [`duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer, duration)
}

/// Deserializes an optional [`size`] from a number or text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The errors of [`size`].
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer, size)
}

/// Deserializes an optional [`time_limit`] from a number or text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The errors of [`time_limit`].
pub fn deserialize_time_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer, time_limit)
}

/// Deserializes an optional [`size_limit`] from a number or text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The errors of [`size_limit`].
pub fn deserialize_size_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer, size_limit)
}

fn deserialize<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, UnitError>,
) -> Result<Option<T>, D::Error> {
    let value = Option::<NumberOrText>::deserialize(deserializer)?;
    value.map(|value| parse(&value.into_text())).transpose().map_err(serde::de::Error::custom)
}

/// The JSON schema of a duration.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum DurationSchema {
    /// Seconds.
    Number(f64),
    /// For example `500ms`, `30s` or `1m 30s`.
    Text(String),
}

/// The JSON schema of a size.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum SizeSchema {
    /// Bytes.
    Number(u64),
    /// For example `64MiB` or `10kB`.
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Integer(u64),
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_parses_number_or_units() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("1.5", 1_500), ("1m 30s", 90_000), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "inf", "nan", "1e400", "5 parsecs", "18446744073709551615s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_is_rounded_to_a_float_of_seconds() {
        let longest = ["9221372036854755807s", "18446744073709549568"];
        for text in ["1ns", "0.1", "1h 1ns", "97days 1ns", "100days 1ns", "31y 7ns"].into_iter().chain(longest) {
            let parsed = duration(text).unwrap();
            assert_eq!(duration(&parsed.as_secs_f64().to_string()), Ok(parsed), "{text}");
            let json = serde_json::to_string(&parsed.as_secs_f64()).unwrap();
            let deserialized = deserialize_duration(&mut serde_json::Deserializer::from_str(&json)).unwrap();
            assert_eq!(deserialized, Some(parsed), "{text} as JSON, {json}");
        }
    }

    #[test]
    fn time_is_a_timestamp_a_unix_time_or_a_duration_ago() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
            ("1769860800", "2026-01-31T12:00:00Z"),
            ("1769860800.25", "2026-01-31T12:00:00.25Z"),
            ("1769860800.1234567891", "2026-01-31T12:00:00.123456789Z"),
            ("90", "2026-01-01T23:58:30Z"),
            ("999999999", "1994-04-25T22:13:21Z"),
            (" 1h 30m ", "2026-01-01T22:30:00Z"),
        ] {
            assert_eq!(time(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "soon", "-5m", "2026-01-31", "900000y", "99999999999999999999", "1769860800.x"] {
            assert_eq!(time(text, now), None, "{text}");
        }
    }

    #[test]
    fn limit_of_zero_fails() {
        assert_eq!((time_limit("0s"), size_limit("0")), (Err(UnitError::ZeroTime), Err(UnitError::ZeroSize)));
        assert_eq!((time_limit("1ms"), size_limit("1")), (Ok(Duration::from_millis(1)), Ok(1)));
    }

    #[test]
    fn size_parses_number_or_unit() {
        for (text, bytes) in [("64MiB", 64 << 20), ("10kB", 10_000), ("1024", 1024), ("0", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "MiB", "12 parsecs"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
