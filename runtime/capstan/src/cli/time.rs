//! `Moment`: a point in time as people write it, a time or how long ago it was.

use std::str::FromStr;

use capstan_core::units;
use jiff::Timestamp;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(Timestamp);

/// Why a text is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 10m, 1h 30m")]
pub(super) struct MomentError;

impl Moment {
    /// The point in time that `text` names at `now`. A number without a unit is none: nobody knows what it counts.
    fn read(text: &str, now: Timestamp) -> Result<Self, MomentError> {
        if let Ok(time) = text.trim().parse() {
            return Ok(Self(time));
        }
        if text.trim().parse::<f64>().is_ok() {
            return Err(MomentError);
        }
        let ago = units::duration(text).map_err(|_| MomentError)?;
        now.checked_sub(ago).map(Self).map_err(|_| MomentError)
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        Self::read(text, Timestamp::now())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_itself_and_a_duration_is_ago() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("10m", "2026-01-01T23:50:00Z"),
            ("1h 30m", "2026-01-01T22:30:00Z"),
            ("0s", "2026-01-02T00:00:00Z"),
        ] {
            assert_eq!(Moment::read(text, now).map(|moment| moment.to_string()).as_deref(), Ok(time), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "soon", "12", "1.5", "-5m", "2026-01-31", "900000y"] {
            assert_eq!(text.parse::<Moment>(), Err(MomentError), "{text}");
        }
    }
}
