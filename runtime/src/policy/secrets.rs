//! Secrets in a policy: which handlers get which, and as which variable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Named, Notes};
use super::{Asked, Ceiling};
use crate::secret::Secret;

/// A secret that the operator offers.
#[derive(Clone, Debug)]
pub struct Offered {
    pub secret: Secret,
    /// The handlers that may have it, by name; `*` for all.
    pub handlers: Vec<String>,
}

/// A secret that is asked for, by the name that the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretAsked {
    /// The name of the secret in the operator's configuration.
    pub name: String,
    /// The variable in which the guest finds it. Default: the name in capital letters, with `_` for what is no letter and no digit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// A secret that is granted. Its value is nowhere in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretGrant {
    pub name: String,
    pub env: String,
}

impl Offered {
    fn is_for(&self, handler: &str) -> bool {
        self.handlers.iter().any(|allowed| allowed == "*" || allowed == handler)
    }
}

impl SecretAsked {
    /// The variable in which the guest finds it.
    pub fn variable(&self) -> String {
        let default = || {
            let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
            self.name.chars().map(plain).collect()
        };
        self.env.clone().unwrap_or_else(default)
    }
}

impl Named for SecretAsked {
    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Ceiling {
    /// What `handler` gets of what its manifest and the caller ask for.
    pub(super) fn secret_grants(
        &self,
        handler: &str,
        manifest: &Asked,
        caller: &Asked,
        lenient: bool,
        notes: &mut Notes,
    ) -> Vec<SecretGrant> {
        let of_operator = |asked: &SecretAsked| match self.secrets.get(&asked.name) {
            None => Err("the operator has no secret of this name".to_owned()),
            Some(offered) if !offered.is_for(handler) => Err(format!("the operator keeps it from handler {handler}")),
            Some(_) if !is_variable(&asked.variable()) => {
                Err(format!("{:?} cannot be the name of a variable", asked.variable()))
            }
            Some(_) => Ok(()),
        };
        let asked = [manifest.secrets.as_deref(), caller.secrets.as_deref()];
        let granted =
            notes.granted_in_turn("secrets", asked, lenient, of_operator, |wanted, asked| wanted.name == asked.name);
        granted.into_iter().map(|asked| SecretGrant { env: asked.variable(), name: asked.name }).collect()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
