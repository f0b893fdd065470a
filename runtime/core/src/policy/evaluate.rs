//! [`Ceiling::evaluate`]: computes a policy from the ceiling and the requests of a manifest and a caller.

mod features;
mod http;
mod limits;
mod mounts;
mod network;
mod secrets;

use super::Policy;
use super::ceiling::{Ceiling, Excess};
use super::diagnostic::{Denied, Diagnostic, Verdict};
use super::findings::Findings;
use super::request::PolicyRequest;

/// A policy, and its differences from the requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub policy: Policy,
    pub findings: Vec<Diagnostic>,
}

impl Ceiling {
    /// Computes the policy of a run of `handler`, with the requests of its manifest and its caller.
    pub fn evaluate(&self, handler: &str, manifest: &PolicyRequest, caller: &PolicyRequest) -> Evaluation {
        let mut findings = Findings::default();
        let clamps_manifest = self.excess == Excess::Clamp;
        let (limits, scratch) = self.evaluate_limits(manifest, caller, clamps_manifest, &mut findings);
        let mounts = [manifest.mounts.as_deref(), caller.mounts.as_deref()];
        let mounts = self.evaluate_mounts(mounts, scratch > 0, clamps_manifest, &mut findings);
        let pass_env = self.evaluate_pass_env(manifest, caller, clamps_manifest, &mut findings);
        let secrets = self.evaluate_secrets(handler, manifest, caller, clamps_manifest, &mut findings);
        let network = self.evaluate_network(manifest, caller, clamps_manifest, &mut findings);
        let http = self.evaluate_http(handler, manifest, caller, clamps_manifest, &mut findings);
        let features = self.evaluate_features(manifest, caller, &mut findings);
        let policy = Policy { limits, mounts, pass_env, secrets, scratch, network, http, features };
        Evaluation { policy, findings: findings.into_diagnostics() }
    }

    fn evaluate_pass_env(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> Vec<String> {
        let operator_allows = |name: &String| match self.env.get(name) {
            None => Err("the operator does not pass it on, or does not have it".to_owned()),
            Some(_) => Ok(()),
        };
        let requests = [manifest.pass_env.as_deref(), caller.pass_env.as_deref()];
        findings.filter_in_turn("pass_env", requests, clamps_manifest, operator_allows, String::eq)
    }
}

impl Evaluation {
    /// Returns the policy if nothing is denied.
    ///
    /// # Errors
    /// [`Denied`]
    pub fn into_policy(self) -> Result<Policy, Denied> {
        if self.findings.iter().any(|finding| finding.verdict == Verdict::Denied) {
            return Err(Denied(self.findings));
        }
        Ok(self.policy)
    }
}
