//! `Feature`: what of WebAssembly is off unless the operator allows it and a manifest asks for it.
//!
//! On for everybody is what mainstream toolchains emit: multi-value, mutable globals, sign extension, saturating conversion, bulk memory,
//! reference types, SIMD and relaxed SIMD, tail calls, extended constant expressions, and components.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of features, in the order of [`Feature::ALL`].
pub type Features = BTreeSet<Feature>;

/// A feature of WebAssembly that shapes the code of who uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Memories and tables with addresses of 64 bits.
    Memory64,
    /// More than one memory in a module.
    MultiMemory,
    /// Memories in pages of one byte.
    CustomPageSizes,
    /// Sums and products of 128 bits.
    WideArithmetic,
}

impl Feature {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Memory64, Self::MultiMemory, Self::CustomPageSizes, Self::WideArithmetic];

    /// The word for it, as it is written in a manifest.
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
        feature.ok_or_else(|| format!("expected one of {}", known.join(", ")))
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
    fn each_has_one_word() {
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
            assert_eq!(feature.name().parse(), Ok(feature));
        }
        assert!("threads".parse::<Feature>().unwrap_err().contains("wide-arithmetic"));
    }
}
