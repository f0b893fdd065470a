//! `When`: a time in a request, as a time or as a delay from now.

use std::fmt;
use std::time::Duration;

use capstan_core::units;
use jiff::Timestamp;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A time such as `"2027-01-31T12:00:00Z"`, or a delay such as `"10m"` or `90` (seconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum When {
    At(Timestamp),
    In(Duration),
}

impl When {
    /// Returns the time, if it is `now`. A delay that ends after the last possible time ends then.
    pub(in super::super) fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(delay) => now.checked_add(delay).unwrap_or(Timestamp::MAX),
        }
    }
}

struct WhenVisitor;

impl Visitor<'_> for WhenVisitor {
    type Value = When;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a time such as \"2027-01-31T12:00:00Z\", or a delay such as \"10m\" or 90")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<When, E> {
        if let Ok(time) = text.parse() {
            return Ok(When::At(time));
        }
        units::duration(text).map(When::In).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<When, E> {
        let delay = Duration::try_from_secs_f64(seconds);
        delay.map(When::In).map_err(|_| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<When, E> {
        Ok(When::In(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<When, E> {
        Err(E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WhenVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_a_time_or_a_delay() {
        let now = Timestamp::UNIX_EPOCH;
        let read = |json: &str| serde_json::from_str::<When>(json).map(|when| when.after(now).to_string());
        assert_eq!(read("\"2027-01-31T12:00:00Z\"").unwrap(), "2027-01-31T12:00:00Z");
        assert_eq!(read("\"2027-01-31T12:00:00+02:00\"").unwrap(), "2027-01-31T10:00:00Z");
        assert_eq!(read("\"10m\"").unwrap(), "1970-01-01T00:10:00Z");
        assert_eq!(read("90").unwrap(), "1970-01-01T00:01:30Z");
        assert_eq!(read("1e15").unwrap(), Timestamp::MAX.to_string());
        for text in ["-1", "-0.5", "1e300", "\"soon\"", "\"-5m\"", "\"2027-02-31T00:00:00Z\"", "[]", "null"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
