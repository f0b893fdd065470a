//! Fuzz targets for manifests and policies: an evaluation never exceeds any of its sources.

use std::sync::{Arc, LazyLock};

use cap_std::fs::Dir;

use super::Policy;
use super::ceiling::{Ceiling, Excess};
use super::containment::{granted_quota, is_within_grants, is_within_limits, numeric_limits};
use super::diagnostic::Source;
use super::evaluate::Evaluation;
use super::mounts::Prefix;
use super::offered_secret::OfferedSecret;
use super::request::PolicyRequest;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::mount::{Mount, Quota};
use crate::secret::Secret;

/// Separates the requests of the operator, the manifest and the caller in the input of [`policy`].
const SEPARATOR: &str = "\n---\n";

/// The handle of a granted directory. It does not have to be a directory, because an evaluation opens nothing.
static PLACEHOLDER_DIR: LazyLock<Arc<Dir>> = LazyLock::new(|| {
    let (end, _) = std::io::pipe().expect("a process can create a pipe");
    Arc::new(Dir::from(std::os::fd::OwnedFd::from(end)))
});

/// Parses a manifest in TOML, and checks that it survives a round trip through JSON.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(manifest) = Manifest::parse(text) else { return false };
    let written = serde_json::to_string(&manifest).expect("plain data");
    assert_eq!(serde_json::from_str::<Manifest>(&written).as_ref().ok(), Some(&manifest), "{written}");
    true
}

/// Parses the requests of the operator, a manifest and a caller, each in TOML or JSON, and evaluates them. The policy does not exceed any
/// of the three, its limits are their minimum, and a diagnostic reports each request for more.
pub fn policy(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut parts = text.splitn(3, SEPARATOR).map(parse_request);
    let [Some(operator), Some(manifest), Some(caller)] =
        [(); 3].map(|()| parts.next().unwrap_or(Some(PolicyRequest::EMPTY)))
    else {
        return false;
    };
    for excess in [Excess::Clamp, Excess::Refuse] {
        let ceiling = Ceiling { excess, ..ceiling(&operator) };
        let evaluation = ceiling.evaluate("wc", &manifest, &caller);
        check_limits(&ceiling, &manifest, &caller, &evaluation);
        check_grants(&ceiling, &manifest, &caller, &evaluation.policy);
    }
    true
}

fn check_limits(ceiling: &Ceiling, manifest: &PolicyRequest, caller: &PolicyRequest, evaluation: &Evaluation) {
    let granted = numeric_limits(&evaluation.policy.limits);
    let (of_manifest, of_caller) = (numeric_limits(manifest), numeric_limits(caller));
    let min = |one: Option<u128>, other: Option<u128>| [one, other].into_iter().flatten().min();
    let is_reported = |key: &str, by| evaluation.findings.iter().any(|finding| finding.key == key && finding.by == by);
    for (key, max) in numeric_limits(&ceiling.limits) {
        let [of_manifest, of_caller] = [&of_manifest, &of_caller].map(|request| request.get(&key).copied().flatten());
        let above = min(max, of_manifest);
        assert_eq!(granted[&key], min(above, of_caller), "{key}: {evaluation:?}");
        for (by, above, requested) in [(Source::Manifest, max, of_manifest), (Source::Caller, above, of_caller)] {
            let is_more = requested.is_some_and(|requested| above.is_some_and(|above| requested > above));
            assert!(!is_more || is_reported(&key, by), "{key} of the {by}: {evaluation:?}");
        }
    }
}

fn check_grants(ceiling: &Ceiling, manifest: &PolicyRequest, caller: &PolicyRequest, policy: &Policy) {
    for request in [manifest, caller] {
        assert!(is_within_limits(policy, request) && is_within_grants(policy, request), "{policy:?}: {request:?}");
    }
    assert!(policy.limits.clock.precision_rank() >= ceiling.limits.clock.precision_rank(), "{policy:?}");
    assert!(policy.scratch <= ceiling.scratch, "{policy:?}");
    assert!(policy.pass_env.iter().all(|name| ceiling.env.get(name).is_some()), "{policy:?}");
    assert!(policy.secrets.iter().all(|secret| ceiling.secrets.contains_key(&secret.name)), "{policy:?}");
    assert!(policy.network.iter().all(|rule| ceiling.network.iter().any(|own| rule.is_within(own))), "{policy:?}");
    assert!(policy.http.iter().all(|rule| ceiling.http.iter().any(|own| rule.is_within(own))), "{policy:?}");
    let named = manifest.features.as_ref().unwrap_or(&ceiling.features);
    assert!(policy.features.is_subset(&ceiling.features) && policy.features.is_subset(named), "{policy:?}");
    for grant in &policy.mounts {
        let (access, quota) = match (&grant.name, &grant.path) {
            (Some(name), None) => ceiling.mounts.get(name).map(|mount| (mount.access, mount.quota)),
            (None, Some(path)) => ceiling.prefix(path).map(|(prefix, _)| (prefix.access, prefix.quota)),
            _ => None,
        }
        .expect("only mounts of the operator are granted");
        let max = [quota.bytes, quota.files].map(|max| if max == u64::MAX { u128::MAX } else { max.into() });
        let is_within = granted_quota(policy, grant).iter().zip(max).all(|(own, max)| *own <= max);
        assert!(grant.access <= access && is_within, "{grant:?}: {policy:?}");
    }
    let guests = policy.mounts.iter().map(|grant| (grant.guest.as_str(), false));
    crate::mount::check_guest_paths(guests).expect("granted mounts have valid guest paths");
}

fn parse_request(text: &str) -> Option<PolicyRequest> {
    let request = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).ok(),
        false => toml::from_str(text).ok(),
    };
    if let Some(request) = &request {
        let written = serde_json::to_string(request).expect("plain data");
        assert_eq!(serde_json::from_str::<PolicyRequest>(&written).as_ref().ok(), Some(request), "{written}");
    }
    request
}

/// Returns the ceiling of an operator who configures `request`: with its named mounts, and with its secrets for every handler.
fn ceiling(request: &PolicyRequest) -> Ceiling {
    let mut ceiling = Ceiling::with_limits(Limits::default().overridden_by(request));
    ceiling.scratch = request.scratch.unwrap_or(ceiling.scratch);
    ceiling.network = request.network.clone().unwrap_or_default();
    ceiling.http = request.http.clone().unwrap_or_default();
    ceiling.features = request.features.clone().unwrap_or_default();
    for name in request.pass_env.iter().flatten() {
        // The environment of the daemon has no invalid variables either.
        let _ = ceiling.env.set(name, "value");
    }
    for one in request.mounts.iter().flatten() {
        let quota = Quota { bytes: one.disk.unwrap_or(u64::MAX), files: one.files.unwrap_or(u64::MAX) };
        let (dir, access, guest_path) = (PLACEHOLDER_DIR.clone(), one.access, String::new());
        match (&one.name, &one.path) {
            (Some(name), _) => {
                let mount = Mount { dir, file: None, guest_path, access, quota };
                ceiling.mounts.entry(name.clone()).or_insert(mount);
            }
            (None, Some(path)) => ceiling.prefixes.push(Prefix { path: path.clone(), dir, access, quota }),
            (None, None) => {}
        }
    }
    for one in request.secrets.iter().flatten() {
        let secret = Secret::new(b"secret").expect("the length is valid");
        ceiling
            .secrets
            .insert(one.name.clone(), OfferedSecret { secret, handlers: vec!["*".to_owned()], http: Vec::new() });
    }
    ceiling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_manifest_holds_every_property() {
        capstan_corpus::replay("manifest", manifest);
    }

    #[test]
    fn corpus_of_policy_holds_every_property() {
        capstan_corpus::replay("policy", policy);
    }
}
