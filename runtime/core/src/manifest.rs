//! `Manifest`: what a handler says of itself, its `job.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::policy::{self, PolicyRequest};

/// A handler's manifest. Everything is optional; a key that is not known is an error that names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// The name to push under where the command gives none.
    pub name: Option<String>,
    /// What its jobs do, in a sentence.
    pub description: Option<String>,
    /// How it is called, in the manner of a synopsis.
    pub usage: Option<String>,
    /// The name that its runs find before their arguments, as `argv[0]`. Default: the name of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv0: Option<String>,
    /// What its runs may use and touch, within what the operator allows.
    // Manifests of earlier versions have it as `limits`.
    #[serde(alias = "limits")]
    pub policy: PolicyRequest,
    /// Variables that its runs see unless the caller sets them.
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: Env,
}

/// Why a manifest was refused: where in it, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

impl Manifest {
    /// Reads a manifest from TOML.
    ///
    /// # Errors
    /// [`ManifestError`] with line, column and the offending text.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError(policy::with_suggestion(&error.to_string())))?;
        if manifest.argv0.as_ref().is_some_and(|argv0| argv0.contains('\0')) {
            return Err(ManifestError("argv0 holds NUL, which no guest could see".to_owned()));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_whole() {
        let text = "name = \"wc\"\nusage = \"wc [--top N]\"\n[policy]\ntimeout = \"10s\"\n[env]\nTOP = \"3\"\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.name.as_deref(), Some("wc"));
        assert_eq!(manifest.policy.timeout, Some(std::time::Duration::from_secs(10)));
        assert_eq!(manifest.env.get("TOP"), Some("3"));
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        for text in [
            "nmae = \"x\"",
            "argv0 = \"a\\u0000b\"",
            "argv0 = 3",
            "[policy]\nmemroy = 1",
            "policy = 3",
            "[env]\nTOP = 3",
            "= =",
        ] {
            assert!(Manifest::parse(text).is_err(), "{text}");
        }
        assert!(Manifest::parse("nmae = \"x\"").unwrap_err().to_string().contains("nmae"));
    }
}
