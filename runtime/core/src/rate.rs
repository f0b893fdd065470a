//! [`Rate`]: how many jobs of a handler may start within a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A rate such as `"100/s"`, `"5/m"`, `"10/h"` or `"3/10s"`: so many within that time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// Not zero.
    pub per: Duration,
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rate; write the number of jobs and the time, such as \"100/s\", \"5/m\" or \"3/10s\"")]
pub struct RateError(String);

impl Rate {
    /// Returns the time in which one more job is allowed.
    pub fn interval(&self) -> Duration {
        self.per / self.count
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let parse = || {
            let (count, per) = text.split_once('/')?;
            let per = match per.trim() {
                "s" | "second" => Duration::from_secs(1),
                "m" | "min" | "minute" => Duration::from_secs(60),
                "h" | "hour" => Duration::from_secs(3600),
                "d" | "day" => Duration::from_secs(24 * 3600),
                per => crate::units::duration(per).ok()?,
            };
            let count = count.trim().parse().ok().filter(|count| *count > 0)?;
            let rate = Self { count, per };
            (!rate.interval().is_zero() && per <= Duration::from_secs(366 * 24 * 3600)).then_some(rate)
        };
        parse().ok_or_else(|| RateError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, crate::units::format_duration(self.per))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_a_number_and_a_time() {
        for (text, count, seconds) in
            [("100/s", 100, 1), ("5/m", 5, 60), ("10/h", 10, 3600), ("3/10s", 3, 10), ("1 / day", 1, 86400)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(seconds) }, "{text}");
            assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate, "{text}");
        }
        for text in ["", "5", "0/s", "-1/s", "5/", "/s", "5/0s", "5/-1s", "1.5/s", "5/nan", "4294967295/1ns", "1/900y"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
