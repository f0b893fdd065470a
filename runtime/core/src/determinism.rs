//! The clocks and random bytes of a guest: the ones of the host, less precise ones, or the same in every run.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The clocks of a guest, from the most to the least precise. Written `"real"`, `"coarse"`, `"fixed"`, or as an instant such as
/// `"2026-01-01T00:00:00Z"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clock {
    /// The clocks of the host, in nanoseconds.
    #[default]
    Real,
    /// The clocks of the host, rounded down to whole milliseconds.
    Coarse,
    /// The wall clock always shows this instant. The monotonic clock starts at 0 and advances only while the guest sleeps.
    Fixed(Timestamp),
}

/// The text is not a [`Clock`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a clock: expected \"real\", \"coarse\", \"fixed\", or an instant since 1970 such as \"2026-01-01T00:00:00Z\""
)]
pub struct ClockError(String);

/// The random bytes of a guest. Written `"real"`, `"seeded"` for the seed 0, or `{ seed = N }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RandomRepr", into = "RandomRepr")]
pub enum Random {
    /// From the random number generator of the host.
    #[default]
    Real,
    /// From a generator with this seed: the same bytes on every machine.
    Seeded(u64),
}

/// The serialized form of [`Random`].
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"real\", \"seeded\" or { seed = N }")]
#[schemars(inline)]
pub(crate) enum RandomRepr {
    Keyword(RandomKeyword),
    Seed(RandomSeed),
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum RandomKeyword {
    Real,
    Seeded,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct RandomSeed {
    seed: u64,
}

impl Clock {
    /// The instant of `"fixed"`: the start of the year 2000. Archives and certificates cannot represent much earlier times.
    pub const DEFAULT_FIXED: Self = Self::Fixed(Timestamp::constant(946_684_800, 0));

    /// Returns the position in the order of precision. 0 is the most precise.
    pub(crate) fn precision_rank(self) -> u8 {
        match self {
            Self::Real => 0,
            Self::Coarse => 1,
            Self::Fixed(_) => 2,
        }
    }
}

impl FromStr for Clock {
    type Err = ClockError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "real" => Ok(Self::Real),
            "coarse" => Ok(Self::Coarse),
            "fixed" => Ok(Self::DEFAULT_FIXED),
            text => match text.parse::<Timestamp>() {
                Ok(instant) if instant >= Timestamp::UNIX_EPOCH => Ok(Self::Fixed(instant)),
                _ => Err(ClockError(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for Clock {
    type Error = ClockError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Clock> for String {
    fn from(clock: Clock) -> Self {
        clock.to_string()
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => formatter.write_str("real"),
            Self::Coarse => formatter.write_str("coarse"),
            Self::Fixed(instant) => write!(formatter, "{instant}"),
        }
    }
}

impl From<RandomRepr> for Random {
    fn from(repr: RandomRepr) -> Self {
        match repr {
            RandomRepr::Keyword(RandomKeyword::Real) => Self::Real,
            RandomRepr::Keyword(RandomKeyword::Seeded) => Self::Seeded(0),
            RandomRepr::Seed(RandomSeed { seed }) => Self::Seeded(seed),
        }
    }
}

impl From<Random> for RandomRepr {
    fn from(random: Random) -> Self {
        match random {
            Random::Real => Self::Keyword(RandomKeyword::Real),
            Random::Seeded(seed) => Self::Seed(RandomSeed { seed }),
        }
    }
}

impl fmt::Display for Random {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => formatter.write_str("real"),
            Self::Seeded(seed) => write!(formatter, "seed {seed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_parses_from_keyword_or_instant() {
        for (text, shown) in [
            ("real", "real"),
            ("coarse", "coarse"),
            ("fixed", "2000-01-01T00:00:00Z"),
            ("2026-01-01T02:00:00.5+02:00", "2026-01-01T00:00:00.5Z"),
        ] {
            let clock: Clock = serde_json::from_value(text.into()).unwrap();
            assert_eq!(clock.to_string(), shown);
            assert_eq!(shown.parse(), Ok(clock));
            assert_eq!(serde_json::to_value(clock).unwrap(), shown);
        }
        for text in ["", "Real", "1969-12-31T23:59:59Z", "2026-01-01", "5"] {
            let error = text.parse::<Clock>().unwrap_err().to_string();
            assert!(error.contains("\"coarse\""), "{error}");
        }
    }

    #[test]
    fn random_deserializes_from_keyword_or_seed() {
        for (json, random) in [
            (serde_json::json!("real"), Random::Real),
            (serde_json::json!("seeded"), Random::Seeded(0)),
            (serde_json::json!({"seed": 7}), Random::Seeded(7)),
        ] {
            assert_eq!(serde_json::from_value::<Random>(json).unwrap(), random);
            assert_eq!(serde_json::from_value::<Random>(serde_json::to_value(random).unwrap()).unwrap(), random);
        }
        for json in [serde_json::json!("Real"), serde_json::json!({"sede": 7}), serde_json::json!({"seed": -1})] {
            let error = serde_json::from_value::<Random>(json).unwrap_err().to_string();
            assert!(error.contains("seed = N"), "{error}");
        }
    }
}
