//! [`Mode`]: how much confinement the operator wants.

use std::fmt;
use std::str::FromStr;

use capstan_core::policy::suggest;
use serde::{Deserialize, Serialize};

/// How much a process is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Mode {
    /// Not at all.
    Off,
    /// As much as the kernel supports.
    #[default]
    Best,
    /// Completely. The process does not start if the kernel does not support that.
    Strict,
}

/// The text is not a [`Mode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a confinement mode: expected off, best or strict{}", .nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct UnknownMode {
    text: String,
    pub(crate) nearest: Option<&'static str>,
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "off",
            Self::Best => "best",
            Self::Strict => "strict",
        })
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "off" => Ok(Self::Off),
            "best" => Ok(Self::Best),
            "strict" => Ok(Self::Strict),
            _ => Err(UnknownMode { text: text.to_owned(), nearest: suggest(text, ["off", "best", "strict"]) }),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = UnknownMode;

    fn try_from(text: String) -> Result<Self, UnknownMode> {
        text.parse()
    }
}
