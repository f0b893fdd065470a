//! `TimeArg`: a point in time on the command line, as a timestamp or as a duration before now.

use std::str::FromStr;

use capstan_core::units;
use jiff::Timestamp;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeArg(Timestamp);

/// Why a text is not a point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-01-31T12:00:00Z or 1769860800, or how long ago: 90 (seconds), 10m, 1h 30m")]
pub(super) struct TimeArgError;

impl TimeArg {
    /// Parses the same texts as the API.
    fn parse(text: &str, now: Timestamp) -> Result<Self, TimeArgError> {
        units::time(text, now).map(Self).ok_or(TimeArgError)
    }
}

impl FromStr for TimeArg {
    type Err = TimeArgError;

    fn from_str(text: &str) -> Result<Self, TimeArgError> {
        Self::parse(text, Timestamp::now())
    }
}

impl std::fmt::Display for TimeArg {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_arg_parses_timestamps_and_durations_before_now() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("10m", "2026-01-01T23:50:00Z"),
            ("1h 30m", "2026-01-01T22:30:00Z"),
            ("0s", "2026-01-02T00:00:00Z"),
            ("1769860800", "2026-01-31T12:00:00Z"),
            ("90", "2026-01-01T23:58:30Z"),
        ] {
            assert_eq!(TimeArg::parse(text, now).map(|time| time.to_string()).as_deref(), Ok(time), "{text}");
        }
    }

    #[test]
    fn other_text_is_rejected() {
        for text in ["", "soon", "-5m", "2026-01-31", "900000y"] {
            assert_eq!(text.parse::<TimeArg>(), Err(TimeArgError), "{text}");
        }
    }
}
