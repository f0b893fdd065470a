//! Durations and sizes as people write them: `"30s"` and `"64MiB"`, or a plain number of seconds and of bytes.

use std::time::Duration;

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
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| UnitError::Size(text.to_owned()))
}

/// For `#[serde(deserialize_with)]`: an optional duration as a number or as text.
///
/// # Errors
/// As [`duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Option::<NumberOrText>::deserialize(deserializer)?
        .map(|value| duration(&value.into_text()))
        .transpose()
        .map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: an optional size as a number or as text.
///
/// # Errors
/// As [`size`].
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<NumberOrText>::deserialize(deserializer)?
        .map(|value| size(&value.into_text()))
        .transpose()
        .map_err(serde::de::Error::custom)
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
