//! Network rules: each granted rule lies within a rule of the operator, and a rule of a caller also within a rule of the manifest.

use crate::policy::ceiling::Ceiling;
use crate::policy::findings::Findings;
use crate::policy::network::Rule;
use crate::policy::request::PolicyRequest;

impl Ceiling {
    /// Returns the rules of a run.
    pub(super) fn evaluate_network(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> Vec<Rule> {
        let operator_allows = |request: &Rule| match self.network.iter().any(|rule| request.is_within(rule)) {
            true => Ok(()),
            false if self.network.is_empty() => Err("the operator grants no network".to_owned()),
            false => Err(format!("the rules of the operator do not cover it: {}", list(&self.network))),
        };
        let requests = [manifest.network.as_deref(), caller.network.as_deref()];
        findings.filter_in_turn("network", requests, clamps_manifest, operator_allows, |rule, request| {
            request.is_within(rule)
        })
    }
}

/// Returns the first few rules in one line.
pub(super) fn list<T: std::fmt::Display>(rules: &[T]) -> String {
    const MAX_LISTED: usize = 4;
    let listed: Vec<_> = rules.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    let ellipsis = if rules.len() > MAX_LISTED { ", …" } else { "" };
    listed.join(", ") + ellipsis
}
