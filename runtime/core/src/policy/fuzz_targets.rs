//! What is asked for, fuzzed: manifests and policies as they are written, and that judging makes none wider than any of its sources.

use std::sync::{Arc, LazyLock};

use cap_std::fs::Dir;

use super::intersect::{is_within_grants, is_within_limits, limits, numbers, taken};
use super::*;
use crate::manifest::Manifest;
use crate::mount::Quota;

/// What parts the operator's words, the manifest's and the caller's in the input of [`policy`].
const PARTING: &str = "\n---\n";

/// A directory to grant. Judging opens nothing, so that it need not be one.
static NOWHERE: LazyLock<Arc<Dir>> = LazyLock::new(|| {
    let (end, _) = std::io::pipe().expect("a process may have a pipe");
    Arc::new(Dir::from(std::os::fd::OwnedFd::from(end)))
});

/// Takes a manifest in TOML. It is kept in JSON, and the same when it is read again.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(manifest) = Manifest::parse(text) else { return false };
    let written = serde_json::to_string(&manifest).expect("plain data");
    assert_eq!(serde_json::from_str::<Manifest>(&written).as_ref().ok(), Some(&manifest), "{written}");
    true
}

/// Takes what the operator, a manifest and a caller ask for, each in TOML or JSON, and judges it. What comes out is not wider than any
/// of the three, its limits are the least of them, and who asked for more is told.
pub fn policy(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut parts = text.splitn(3, PARTING).map(read);
    let [Some(operator), Some(manifest), Some(caller)] =
        [(); 3].map(|()| parts.next().unwrap_or(Some(PolicyRequest::NOTHING)))
    else {
        return false;
    };
    for excess in [Excess::Clamp, Excess::Refuse] {
        let ceiling = Ceiling { excess, ..ceiling(&operator) };
        let judgement = ceiling.judge("wc", &manifest, &caller);
        check_limits(&ceiling, &manifest, &caller, &judgement);
        check_grants(&ceiling, &manifest, &caller, &judgement.policy);
    }
    true
}

fn check_limits(ceiling: &Ceiling, manifest: &PolicyRequest, caller: &PolicyRequest, judgement: &Judgement) {
    let most = numbers(&limits(&Policy { limits: ceiling.limits, ..Policy::default() }));
    let given = numbers(&limits(&judgement.policy));
    let (wanted, asked) = (numbers(manifest), numbers(caller));
    let least = |one: Option<u128>, other: Option<u128>| [one, other].into_iter().flatten().min();
    let is_told = |key, by| judgement.findings.iter().any(|finding| finding.key == key && finding.by == by);
    for (at, (key, most)) in most.into_iter().enumerate() {
        let above = least(most, wanted[at].1);
        assert_eq!(given[at].1, least(above, asked[at].1), "{key}: {judgement:?}");
        for (by, above, asked) in [(Source::Manifest, most, wanted[at].1), (Source::Caller, above, asked[at].1)] {
            let is_more = asked.is_some_and(|asked| above.is_some_and(|above| asked > above));
            assert!(!is_more || is_told(key, by), "{key} of the {by}: {judgement:?}");
        }
    }
}

fn check_grants(ceiling: &Ceiling, manifest: &PolicyRequest, caller: &PolicyRequest, policy: &Policy) {
    for asked in [manifest, caller] {
        assert!(is_within_limits(policy, asked) && is_within_grants(policy, asked), "{policy:?}: {asked:?}");
    }
    assert!(policy.limits.clock.vagueness() >= ceiling.limits.clock.vagueness(), "{policy:?}");
    assert!(policy.scratch <= ceiling.scratch, "{policy:?}");
    assert!(policy.pass_env.iter().all(|name| ceiling.env.get(name).is_some()), "{policy:?}");
    assert!(policy.secrets.iter().all(|secret| ceiling.secrets.contains_key(&secret.name)), "{policy:?}");
    assert!(policy.network.iter().all(|rule| ceiling.network.iter().any(|own| rule.is_within(own))), "{policy:?}");
    let asked = manifest.features.clone().unwrap_or_default();
    assert!(policy.features.is_subset(&ceiling.features) && policy.features.is_subset(&asked), "{policy:?}");
    for grant in &policy.mounts {
        let (access, quota) = match (&grant.name, &grant.path) {
            (Some(name), None) => ceiling.mounts.get(name).map(|mount| (mount.access, mount.quota)),
            (None, Some(path)) => ceiling.prefix(path).map(|(prefix, _)| (prefix.access, prefix.quota)),
            _ => None,
        }
        .expect("what is granted is one of the operator's");
        let rooms = [quota.bytes, quota.files].map(|room| if room == u64::MAX { u128::MAX } else { room.into() });
        let is_within = taken(policy, grant).iter().zip(rooms).all(|(own, most)| *own <= most);
        assert!(grant.access <= access && is_within, "{grant:?}: {policy:?}");
    }
    let guests = policy.mounts.iter().map(|grant| (grant.guest.as_str(), false));
    crate::mount::check_guest_paths(guests).expect("what is granted can be shown");
}

fn read(text: &str) -> Option<PolicyRequest> {
    let asked = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).ok(),
        false => toml::from_str(text).ok(),
    };
    if let Some(asked) = &asked {
        let written = serde_json::to_string(asked).expect("plain data");
        assert_eq!(serde_json::from_str::<PolicyRequest>(&written).as_ref().ok(), Some(asked), "{written}");
    }
    asked
}

/// What an operator allows who says `asked`, in the manner of a configuration: named mounts, and secrets for every handler.
fn ceiling(asked: &PolicyRequest) -> Ceiling {
    let mut ceiling = Ceiling::of(Limits::default().replaced(asked));
    ceiling.scratch = asked.scratch.unwrap_or(ceiling.scratch);
    ceiling.network = asked.network.clone().unwrap_or_default();
    ceiling.features = asked.features.clone().unwrap_or_default();
    for name in asked.pass_env.iter().flatten() {
        // What can be no variable is none of the daemon's either.
        let _ = ceiling.env.set(name, "value");
    }
    for one in asked.mounts.iter().flatten() {
        let quota = Quota { bytes: one.disk.unwrap_or(u64::MAX), files: one.files.unwrap_or(u64::MAX) };
        let (dir, access, guest_path) = (NOWHERE.clone(), one.access, String::new());
        match (&one.name, &one.path) {
            (Some(name), _) => {
                let mount = Mount { dir, file: None, guest_path, access, quota };
                ceiling.mounts.entry(name.clone()).or_insert(mount);
            }
            (None, Some(path)) => ceiling.prefixes.push(Prefix { path: path.clone(), dir, access, quota }),
            (None, None) => {}
        }
    }
    for one in asked.secrets.iter().flatten() {
        let secret = Secret::new(b"secret").expect("it is long enough");
        ceiling.secrets.insert(one.name.clone(), OfferedSecret { secret, handlers: vec!["*".to_owned()] });
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
