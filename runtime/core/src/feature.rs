//! [`Feature`]: a WebAssembly feature that a program may use only if the operator allows it.
//!
//! These features are always on, and no [`Feature`]: multi-value, mutable globals, sign extension, saturating conversion, bulk memory, `funcref`
//! and typed function references, SIMD and relaxed SIMD, tail calls, extended constant expressions, and components.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of features, in the order of [`Feature::ALL`].
pub type Features = BTreeSet<Feature>;

/// An optional feature of WebAssembly, or of WASI. It changes how a program is compiled or linked.
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
    /// Exceptions with `exnref`, as the final proposal has them.
    Exceptions,
    /// Garbage-collected structures and arrays, and references to them and to values of the host.
    Gc,
    /// Atomic instructions on memories that are not shared. Shared memories are no feature of Capstan.
    Atomics,
    /// Asynchronous functions, streams and futures of components.
    ComponentAsync,
    /// The interfaces of WASI 0.3. It needs [`Feature::ComponentAsync`] too.
    P3,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 9] = [
        Self::Memory64,
        Self::MultiMemory,
        Self::CustomPageSizes,
        Self::WideArithmetic,
        Self::Exceptions,
        Self::Gc,
        Self::Atomics,
        Self::ComponentAsync,
        Self::P3,
    ];

    /// Returns the features that are allowed unless the operator lists others: those that the line of wasmtime in use enables by default. WASI 0.3 is
    /// not among them: wasmtime-wasi calls its implementation experimental.
    pub fn allowed_by_default() -> Features {
        Self::ALL.into_iter().filter(|feature| feature.is_allowed_by_default()).collect()
    }

    fn is_allowed_by_default(self) -> bool {
        !matches!(self, Self::CustomPageSizes | Self::WideArithmetic | Self::P3)
    }

    /// Returns the name of the feature in a manifest and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory64 => "memory64",
            Self::MultiMemory => "multi-memory",
            Self::CustomPageSizes => "custom-page-sizes",
            Self::WideArithmetic => "wide-arithmetic",
            Self::Exceptions => "exceptions",
            Self::Gc => "gc",
            Self::Atomics => "atomics",
            Self::ComponentAsync => "component-async",
            Self::P3 => "p3",
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
