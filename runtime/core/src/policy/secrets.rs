//! Secrets in a policy: which handlers get which, and as which variable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::{Named, Notes};
use super::{Ceiling, PolicyRequest};
use crate::secret::Secret;

/// A secret that the operator offers.
#[derive(Clone, Debug)]
pub struct OfferedSecret {
    pub secret: Secret,
    /// The handlers that may have it, by name; `*` for all.
    pub handlers: Vec<String>,
}

/// A secret that is asked for, by the name that the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
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

impl OfferedSecret {
    fn is_for(&self, handler: &str) -> bool {
        self.handlers.iter().any(|allowed| allowed == "*" || allowed == handler)
    }
}

impl SecretRequest {
    /// The variable in which the guest finds it.
    pub fn variable(&self) -> String {
        let default = || {
            let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
            self.name.chars().map(plain).collect()
        };
        self.env.clone().unwrap_or_else(default)
    }
}

impl Named for SecretRequest {
    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Ceiling {
    /// What `handler` gets of what its manifest and the caller ask for.
    pub(super) fn secret_grants(
        &self,
        handler: &str,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        lenient: bool,
        notes: &mut Notes,
    ) -> Vec<SecretGrant> {
        let of_operator = |asked: &SecretRequest| match self.secrets.get(&asked.name) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A ceiling that offers `token` to `wc` alone and `salt` to all.
    fn ceiling() -> Ceiling {
        let offered = |value: &str, handlers: &[&str]| OfferedSecret {
            secret: Secret::new(value.as_bytes()).unwrap(),
            handlers: handlers.iter().map(|handler| (*handler).to_owned()).collect(),
        };
        let secrets = [("token", offered("a token", &["wc"])), ("salt", offered("a grain", &["*"]))];
        let secrets = secrets.map(|(name, offered)| (name.to_owned(), offered)).into();
        Ceiling { secrets, ..Ceiling::default() }
    }

    /// What `handler` gets as which variable, with the values.
    fn given(handler: &str, manifest: &str, caller: &str) -> Result<Vec<(String, String)>, String> {
        let ceiling = ceiling();
        let [manifest, caller] = [manifest, caller].map(|toml| toml::from_str::<PolicyRequest>(toml).unwrap());
        let policy = ceiling.judge(handler, &manifest, &caller).allowed().map_err(|denied| denied.to_string())?;
        let secrets = ceiling.grants(&policy).unwrap().secrets;
        Ok(secrets.into_iter().map(|(env, secret)| (env, secret.reveal().to_owned())).collect())
    }

    fn one(env: &str, value: &str) -> Result<Vec<(String, String)>, String> {
        Ok(vec![(env.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_secret_is_for_the_handlers_that_the_operator_names() {
        let token = "secrets = [{ name = \"token\" }]";
        assert_eq!(given("wc", "", token), one("TOKEN", "a token"));
        assert_eq!(given("wc", token, ""), one("TOKEN", "a token"));
        assert_eq!(given("other", "", "secrets = [{ name = \"salt\" }]"), one("SALT", "a grain"));
        for (handler, caller, rule) in [
            ("other", token, "the operator keeps it from handler other"),
            ("wc", "secrets = [{ name = \"pepper\" }]", "the operator has no secret of this name"),
        ] {
            let denied = given(handler, "", caller).unwrap_err();
            assert!(denied.contains(rule), "{denied}");
        }
    }

    #[test]
    fn a_caller_gets_no_secret_that_the_manifest_does_without() {
        let salt = "secrets = [{ name = \"salt\" }]";
        assert_eq!(given("wc", salt, "secrets = [{ name = \"salt\", env = \"S\" }]"), one("S", "a grain"));
        assert_eq!(given("wc", salt, "secrets = []"), Ok(vec![]));
        let denied = given("wc", salt, "secrets = [{ name = \"token\" }]").unwrap_err();
        assert!(denied.contains("token of the caller: the manifest does without it"), "{denied}");
    }

    #[test]
    fn the_variable_is_the_name_in_capital_letters_unless_said() {
        let variable = |name: &str, env: Option<&str>| {
            SecretRequest { name: name.to_owned(), env: env.map(str::to_owned) }.variable()
        };
        assert_eq!(variable("db-password.2", None), "DB_PASSWORD_2");
        assert_eq!(variable("db-password", Some("pass")), "pass");
        for env in ["", "A=B", "A\0B"] {
            let caller = format!("secrets = [{{ name = \"salt\", env = {} }}]", serde_json::Value::from(env));
            assert!(given("wc", "", &caller).unwrap_err().contains("cannot be the name of a variable"), "{env:?}");
        }
    }

    #[test]
    fn of_two_secrets_in_one_variable_the_last_is_there() {
        let both = "secrets = [{ name = \"token\", env = \"S\" }, { name = \"salt\", env = \"S\" }]";
        assert_eq!(given("wc", "", both), one("S", "a grain"));
        let apart = "secrets = [{ name = \"token\", env = \"A\" }, { name = \"salt\", env = \"B\" }]";
        assert_eq!(given("wc", "", apart).map(|given| given.len()), Ok(2));
    }
}
