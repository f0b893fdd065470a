//! Whether a policy stays within a request. For tests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Policy;
use super::http::HttpRule;
use super::mounts::{MountGrant, MountRequest};
use super::request::PolicyRequest;
use crate::determinism::{Clock, Random};
use crate::mount::Access;

/// Returns the numeric keys of [`Limits`](crate::limits::Limits) or a request, as they are serialized. `None` is no limit. Numbers are in
/// billionths, so that seconds are exact enough to be compared.
pub(super) fn numeric_limits(limits: &impl Serialize) -> BTreeMap<String, Option<u128>> {
    let members: serde_json::Map<_, _> =
        serde_json::to_value(limits).and_then(serde_json::from_value).expect("an object");
    let number = |value: Value| match value {
        Value::Null => Some(None),
        Value::Number(number) => Some(Some(match number.as_u64() {
            Some(whole) => Duration::from_secs(1).as_nanos() * u128::from(whole),
            None => number
                .as_f64()
                .map_or(u128::MAX, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_nanos()),
        })),
        _ => None,
    };
    members.into_iter().filter_map(|(key, value)| Some((key, number(value)?))).collect()
}

/// Returns whether no limit of `policy` exceeds the one of `request`, and its clock and random bytes are not more real.
pub(super) fn is_within_limits(policy: &Policy, request: &PolicyRequest) -> bool {
    let is_real = |random: Option<Random>| random.is_none_or(|random| random == Random::Real);
    let requested = numeric_limits(request);
    numeric_limits(&policy.limits).iter().all(|(key, own)| {
        let max = requested.get(key).copied().flatten();
        max.is_none_or(|max| own.is_some_and(|own| own <= max))
    }) && policy.limits.clock.precision_rank() >= request.clock.map_or(0, Clock::precision_rank)
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
        && request.http.as_ref().is_none_or(|requests| {
            let is_requested = |rule: &HttpRule| {
                requests.iter().any(|request| rule.is_within(request) && rule.has_secrets_within(request))
            };
            policy.http.iter().all(is_requested)
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
