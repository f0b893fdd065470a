//! HTTP rules: a run may send requests that a rule of the operator covers.

use super::network::list;
use super::secrets::is_variable_name;
use crate::policy::ceiling::Ceiling;
use crate::policy::findings::Findings;
use crate::policy::http::HttpRule;
use crate::policy::request::PolicyRequest;

impl Ceiling {
    /// Returns the HTTP rules that a run of `handler` gets.
    pub(super) fn evaluate_http(
        &self,
        handler: &str,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> Vec<HttpRule> {
        let operator_allows = |request: &HttpRule| {
            if !self.http.iter().any(|rule| request.is_within(rule)) {
                return Err(match self.http.is_empty() {
                    true => "the operator grants no HTTP requests".to_owned(),
                    false => format!("the rules of the operator do not cover it: {}", list(&self.http)),
                });
            }
            self.offers_secrets(handler, request)
        };
        let requests = [manifest.http.as_deref(), caller.http.as_deref()];
        findings.filter_in_turn("http", requests, clamps_manifest, operator_allows, |rule, request| {
            request.is_within(rule) && request.has_secrets_within(rule)
        })
    }

    /// Checks whether requests of `rule` may carry its secrets.
    fn offers_secrets(&self, handler: &str, rule: &HttpRule) -> Result<(), String> {
        for request in &rule.secrets {
            let name = &request.name;
            let Some(offered) = self.secrets.get(name) else {
                return Err(format!("the operator has no secret {name}"));
            };
            if !offered.is_for(handler) {
                return Err(format!("the operator does not offer the secret {name} to handler {handler}"));
            }
            if !is_variable_name(&request.variable()) {
                return Err(format!("{:?} is not a valid variable name", request.variable()));
            }
            if offered.is_for_http_only() && !offered.http.iter().any(|own| rule.is_within(own)) {
                return Err(format!("the operator offers the secret {name} for {} only", list(&offered.http)));
            }
            if !is_field_value(offered.secret.reveal()) {
                return Err(format!("the secret {name} has a character that a header field cannot have"));
            }
        }
        Ok(())
    }
}

/// Returns whether `text` can be in a header field.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}
