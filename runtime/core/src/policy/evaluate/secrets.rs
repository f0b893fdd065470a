//! Secrets: the operator offers each one to some handlers.

use crate::policy::ceiling::Ceiling;
use crate::policy::findings::Findings;
use crate::policy::request::PolicyRequest;
use crate::policy::secrets::{SecretGrant, SecretRequest};
use crate::secret::Secret;

impl Ceiling {
    /// Returns the secret of this name if the operator offers it to `handler`.
    pub fn offered_secret(&self, name: &str, handler: &str) -> Option<&Secret> {
        self.secrets.get(name).filter(|offered| offered.is_for(handler)).map(|offered| &offered.secret)
    }

    /// Returns the secrets that `handler` gets.
    pub(super) fn evaluate_secrets(
        &self,
        handler: &str,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> Vec<SecretGrant> {
        let operator_allows = |request: &SecretRequest| match self.secrets.get(&request.name) {
            None => Err("the operator has no secret of this name".to_owned()),
            Some(offered) if !offered.is_for(handler) => {
                Err(format!("the operator does not offer it to handler {handler}"))
            }
            Some(offered) if offered.is_for_http_only() => {
                Err("the operator offers it for HTTP requests only; name it in a rule of `http`".to_owned())
            }
            Some(_) if !is_variable_name(&request.variable()) => {
                Err(format!("{:?} is not a valid variable name", request.variable()))
            }
            Some(_) => Ok(()),
        };
        let requests = [manifest.secrets.as_deref(), caller.secrets.as_deref()];
        let granted =
            findings.filter_in_turn("secrets", requests, clamps_manifest, operator_allows, |granted, request| {
                granted.name == request.name
            });
        granted.into_iter().map(|request| SecretGrant { env: request.variable(), name: request.name }).collect()
    }
}

pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::offered_secret::OfferedSecret;
    use crate::secret::Secret;

    /// Returns a ceiling that offers `token` to `wc` only and `salt` to all handlers.
    fn ceiling() -> Ceiling {
        let offered = |value: &str, handlers: &[&str]| OfferedSecret {
            secret: Secret::new(value.as_bytes()).unwrap(),
            handlers: handlers.iter().map(|handler| (*handler).to_owned()).collect(),
            http: Vec::new(),
        };
        let secrets = [("token", offered("a token", &["wc"])), ("salt", offered("a grain", &["*"]))];
        let secrets = secrets.map(|(name, offered)| (name.to_owned(), offered)).into();
        Ceiling { secrets, ..Ceiling::default() }
    }

    #[test]
    fn offered_secret_is_found_by_its_handlers_only() {
        let ceiling = ceiling();
        let found = |name, handler| ceiling.offered_secret(name, handler).map(Secret::reveal);
        assert_eq!(found("token", "wc"), Some("a token"));
        assert_eq!(found("salt", "other"), Some("a grain"));
        assert_eq!((found("token", "other"), found("none", "wc")), (None, None));
    }

    /// Returns the variables of the secrets that `handler` gets, with their values.
    fn granted_secrets(handler: &str, manifest: &str, caller: &str) -> Result<Vec<(String, String)>, String> {
        let ceiling = ceiling();
        let [manifest, caller] = [manifest, caller].map(|toml| toml::from_str::<PolicyRequest>(toml).unwrap());
        let policy =
            ceiling.evaluate(handler, &manifest, &caller).into_policy().map_err(|denied| denied.to_string())?;
        let secrets = ceiling.grants(&policy).unwrap().secrets;
        Ok(secrets.into_iter().map(|(env, secret)| (env, secret.reveal().to_owned())).collect())
    }

    fn one(env: &str, value: &str) -> Result<Vec<(String, String)>, String> {
        Ok(vec![(env.to_owned(), value.to_owned())])
    }

    #[test]
    fn secret_is_granted_only_to_handlers_of_the_operator() {
        let token = "secrets = [{ name = \"token\" }]";
        assert_eq!(granted_secrets("wc", "", token), one("TOKEN", "a token"));
        assert_eq!(granted_secrets("wc", token, ""), one("TOKEN", "a token"));
        assert_eq!(granted_secrets("other", "", "secrets = [{ name = \"salt\" }]"), one("SALT", "a grain"));
        for (handler, caller, rule) in [
            ("other", token, "the operator does not offer it to handler other"),
            ("wc", "secrets = [{ name = \"pepper\" }]", "the operator has no secret of this name"),
        ] {
            let denied = granted_secrets(handler, "", caller).unwrap_err();
            assert!(denied.contains(rule), "{denied}");
        }
    }

    #[test]
    fn secret_that_the_manifest_does_not_request_is_denied_to_caller() {
        let salt = "secrets = [{ name = \"salt\" }]";
        assert_eq!(granted_secrets("wc", salt, "secrets = [{ name = \"salt\", env = \"S\" }]"), one("S", "a grain"));
        assert_eq!(granted_secrets("wc", salt, "secrets = []"), Ok(vec![]));
        let denied = granted_secrets("wc", salt, "secrets = [{ name = \"token\" }]").unwrap_err();
        assert!(denied.contains("token of the caller: the manifest does not request it"), "{denied}");
    }

    #[test]
    fn secret_variable_defaults_to_name_in_upper_case() {
        let variable = |name: &str, env: Option<&str>| {
            SecretRequest { name: name.to_owned(), env: env.map(str::to_owned) }.variable()
        };
        assert_eq!(variable("db-password.2", None), "DB_PASSWORD_2");
        assert_eq!(variable("db-password", Some("pass")), "pass");
        for env in ["", "A=B", "A\0B"] {
            let caller = format!("secrets = [{{ name = \"salt\", env = {} }}]", serde_json::Value::from(env));
            assert!(
                granted_secrets("wc", "", &caller).unwrap_err().contains("is not a valid variable name"),
                "{env:?}"
            );
        }
    }

    #[test]
    fn last_of_two_secrets_in_one_variable_wins() {
        let both = "secrets = [{ name = \"token\", env = \"S\" }, { name = \"salt\", env = \"S\" }]";
        assert_eq!(granted_secrets("wc", "", both), one("S", "a grain"));
        let separate = "secrets = [{ name = \"token\", env = \"A\" }, { name = \"salt\", env = \"B\" }]";
        assert_eq!(granted_secrets("wc", "", separate).map(|secrets| secrets.len()), Ok(2));
    }
}
