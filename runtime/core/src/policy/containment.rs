//! Whether a policy stays within a request. For tests.

use super::Policy;
use super::mounts::{MountGrant, MountRequest};
use super::request::PolicyRequest;
use crate::determinism::{Clock, Random};
use crate::mount::Access;

/// Returns the numeric limits by key. Lists all keys, so that a new one cannot be forgotten.
pub(super) fn numeric_limits(request: &PolicyRequest) -> [(&'static str, Option<u128>); 13] {
    let PolicyRequest {
        timeout,
        cpu,
        memory,
        handles,
        stdout,
        stderr,
        concurrency,
        concurrency_per_key,
        disk,
        files,
        connections,
        traffic,
        fuel,
        // Not numeric, or limited by the operator in another way.
        scratch: _,
        clock: _,
        random: _,
        output: _,
        mounts: _,
        pass_env: _,
        secrets: _,
        network: _,
        features: _,
    } = request;
    let count = |number: &Option<std::num::NonZeroUsize>| number.map(|number| number.get() as u128);
    [
        ("timeout", timeout.map(|time| time.as_nanos())),
        ("cpu", cpu.map(|time| time.as_nanos())),
        ("memory", memory.map(u128::from)),
        ("handles", count(handles)),
        ("stdout", stdout.map(u128::from)),
        ("stderr", stderr.map(u128::from)),
        ("concurrency", count(concurrency)),
        ("concurrency_per_key", count(concurrency_per_key)),
        ("disk", disk.map(u128::from)),
        ("files", files.map(u128::from)),
        ("connections", connections.map(u128::from)),
        ("traffic", traffic.map(u128::from)),
        ("fuel", fuel.map(|fuel| fuel.get().into())),
    ]
}

/// Returns the limits of `policy` in the form of a request.
pub(super) fn limits_as_request(policy: &Policy) -> PolicyRequest {
    let limits = policy.limits;
    PolicyRequest {
        timeout: Some(limits.timeout),
        cpu: limits.cpu,
        memory: Some(limits.memory),
        handles: limits.handles.try_into().ok(),
        stdout: Some(limits.stdout),
        stderr: Some(limits.stderr),
        concurrency: limits.concurrency,
        concurrency_per_key: limits.concurrency_per_key,
        disk: Some(limits.disk),
        files: Some(limits.files),
        connections: Some(limits.connections),
        traffic: Some(limits.traffic),
        fuel: limits.fuel.and_then(|fuel| fuel.try_into().ok()),
        ..PolicyRequest::EMPTY
    }
}

/// Returns whether no limit of `policy` exceeds the one of `request`, and its clock and random bytes are not more real.
pub(super) fn is_within_limits(policy: &Policy, request: &PolicyRequest) -> bool {
    let is_real = |random: Option<Random>| random.is_none_or(|random| random == Random::Real);
    let own = numeric_limits(&limits_as_request(policy));
    own.iter()
        .zip(numeric_limits(request))
        .all(|((_, own), (_, max))| max.is_none_or(|max| own.is_some_and(|own| own <= max)))
        && policy.limits.clock.precision_rank() >= request.clock.map_or(0, Clock::precision_rank)
        && (is_real(request.random) || policy.limits.random != Random::Real)
}

/// Returns whether `policy` grants nothing beyond `request`. A key that `request` does not contain allows everything.
pub(super) fn is_within_grants(policy: &Policy, request: &PolicyRequest) -> bool {
    request.scratch.is_none_or(|max| policy.scratch <= max)
        && request.pass_env.as_ref().is_none_or(|requests| policy.pass_env.iter().all(|name| requests.contains(name)))
        && request.secrets.as_ref().is_none_or(|requests| {
            policy.secrets.iter().all(|secret| requests.iter().any(|request| request.name == secret.name))
        })
        && request.network.as_ref().is_none_or(|requests| {
            policy.network.iter().all(|rule| requests.iter().any(|request| rule.is_within(request)))
        })
        && request
            .mounts
            .as_ref()
            .is_none_or(|requests| policy.mounts.iter().all(|grant| is_within_mounts(policy, grant, requests)))
}

/// Returns whether `requests` contain the mount of `grant`, and the quotas of all its grants in `policy` stay within them.
fn is_within_mounts(policy: &Policy, grant: &MountGrant, requests: &[MountRequest]) -> bool {
    let is_same = |one: &&MountRequest| one.name == grant.name && one.path == grant.path && one.access >= grant.access;
    let requests: Vec<_> = requests.iter().filter(is_same).collect();
    let quotas = [sum(requests.iter().map(|one| one.disk)), sum(requests.iter().map(|one| one.files))];
    !requests.is_empty() && granted_quota(policy, grant).iter().zip(quotas).all(|(own, max)| *own <= max)
}

/// Returns the bytes and files that `policy` lets a run write to the mount of `grant`, at all its guest paths together.
pub(super) fn granted_quota(policy: &Policy, grant: &MountGrant) -> [u128; 2] {
    let same = || {
        let written = policy.mounts.iter().filter(|own| own.access == Access::ReadWrite);
        written.filter(|own| own.name == grant.name && own.path == grant.path)
    };
    [sum(same().map(|own| own.disk)), sum(same().map(|own| own.files))]
}

/// Returns the sum of quotas, or the maximum if one is unlimited.
fn sum(quotas: impl Iterator<Item = Option<u64>>) -> u128 {
    quotas.map(|quota| quota.map_or(u128::MAX, u128::from)).fold(0, u128::saturating_add)
}
