//! Secrets in a policy: what is requested, and what is granted.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request for a secret, by the name that the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// The name of the secret in the operator's configuration.
    pub name: String,
    /// The variable in which the guest finds it. Default: the name in upper case, with `_` in place of other characters than letters and
    /// digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// A granted secret. A policy never contains its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretGrant {
    pub name: String,
    pub env: String,
}

impl SecretRequest {
    /// Returns the variable in which the guest finds the secret.
    pub fn variable(&self) -> String {
        let default = || {
            let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
            self.name.chars().map(plain).collect()
        };
        self.env.clone().unwrap_or_else(default)
    }
}

impl fmt::Display for SecretRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}
