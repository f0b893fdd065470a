//! [`Feature`]: a WebAssembly feature that is off unless the operator allows it and a manifest requests it.
//!
//! The features that mainstream toolchains emit are always on: multi-value, mutable globals, sign extension, saturating conversion, bulk
//! memory, reference types, SIMD and relaxed SIMD, tail calls, extended constant expressions, and components.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of features, in the order of [`Feature::ALL`].
pub type Features = BTreeSet<Feature>;

/// An optional feature of WebAssembly. It changes how a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Memories and tables with 64-bit addresses.
    Memory64,
    /// More than one memory in a module.
    MultiMemory,
    /// Memories with pages of one byte.
    CustomPageSizes,
    /// 128-bit addition and multiplication.
    WideArithmetic,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 4] = [Self::Memory64, Self::MultiMemory, Self::CustomPageSizes, Self::WideArithmetic];

    /// Returns the name of the feature in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory64 => "memory64",
            Self::MultiMemory => "multi-memory",
            Self::CustomPageSizes => "custom-page-sizes",
            Self::WideArithmetic => "wide-arithmetic",
        }
    }
}

impl std::str::FromStr for Feature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.map(Self::name);
        let feature = Self::ALL.into_iter().find(|feature| feature.name() == text);
        feature.ok_or_else(|| format!("unknown feature {text:?}, expected one of {}", known.join(", ")))
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_name_round_trips_through_json_and_parse() {
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
            assert_eq!(feature.name().parse(), Ok(feature));
        }
        assert!("threads".parse::<Feature>().unwrap_err().contains("wide-arithmetic"));
    }
}
