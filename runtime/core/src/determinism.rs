//! What a guest learns of time and chance: as they are, with less precision, or always the same.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The clocks of a guest, from the most precise. Written `"real"`, `"coarse"`, `"fixed"`, or as the instant at which it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clock {
    /// The host's, to the nanosecond.
    #[default]
    Real,
    /// The host's, cut to whole milliseconds.
    Coarse,
    /// The wall clock stands; the other begins at 0 and moves by what the guest has slept.
    Fixed(Timestamp),
}

/// Why a text is no clock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a clock: \"real\", \"coarse\", \"fixed\", or an instant since 1970 such as \"2026-01-01T00:00:00Z\""
)]
pub struct ClockError(String);

/// What a guest gets for random bytes. Written `"real"`, `"seeded"` for the seed 0, or `{ seed = N }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Random {
    /// Those of the host.
    #[default]
    Real,
    /// The same for the same seed, on every machine.
    Seeded(u64),
}

/// What is written for [`Random`].
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"real\", \"seeded\" or { seed = N }")]
#[schemars(inline)]
pub(crate) enum Written {
    Word(Word),
    Seed(Seed),
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Word {
    Real,
    Seeded,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Seed {
    seed: u64,
}

impl Clock {
    /// Where `"fixed"` stands: the start of the year 2000, since archives and certificates know no time long before.
    pub const STANDING: Self = Self::Fixed(Timestamp::constant(946_684_800, 0));

    /// Its place in the order of precision: the higher, the less it tells.
    pub(crate) fn vagueness(self) -> u8 {
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
            "fixed" => Ok(Self::STANDING),
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

impl From<Written> for Random {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(Word::Real) => Self::Real,
            Written::Word(Word::Seeded) => Self::Seeded(0),
            Written::Seed(Seed { seed }) => Self::Seeded(seed),
        }
    }
}

impl From<Random> for Written {
    fn from(random: Random) -> Self {
        match random {
            Random::Real => Self::Word(Word::Real),
            Random::Seeded(seed) => Self::Seed(Seed { seed }),
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
    fn a_clock_is_a_word_or_an_instant() {
        for (text, told) in [
            ("real", "real"),
            ("coarse", "coarse"),
            ("fixed", "2000-01-01T00:00:00Z"),
            ("2026-01-01T02:00:00.5+02:00", "2026-01-01T00:00:00.5Z"),
        ] {
            let clock: Clock = serde_json::from_value(text.into()).unwrap();
            assert_eq!(clock.to_string(), told);
            assert_eq!(told.parse(), Ok(clock));
            assert_eq!(serde_json::to_value(clock).unwrap(), told);
        }
        for text in ["", "Real", "1969-12-31T23:59:59Z", "2026-01-01", "5"] {
            let error = text.parse::<Clock>().unwrap_err().to_string();
            assert!(error.contains("\"coarse\""), "{error}");
        }
    }

    #[test]
    fn random_is_a_word_or_a_seed() {
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
