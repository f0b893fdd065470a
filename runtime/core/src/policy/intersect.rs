//! What it means that a policy is not wider than what somebody asked for; for tests.

use super::{MountGrant, MountRequest, Policy, PolicyRequest};
use crate::determinism::{Clock, Random};
use crate::mount::Access;

/// The limits that are numbers, by their keys. All keys are named, so that a new one is thought of here.
pub(super) fn numbers(asked: &PolicyRequest) -> [(&'static str, Option<u128>); 13] {
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
        // Bounded by the operator in another way than by a limit, or no numbers.
        scratch: _,
        clock: _,
        random: _,
        output: _,
        mounts: _,
        pass_env: _,
        secrets: _,
        network: _,
        features: _,
    } = asked;
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

/// The limits of `policy`, as if they were asked for.
pub(super) fn limits(policy: &Policy) -> PolicyRequest {
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
        ..PolicyRequest::NOTHING
    }
}

/// Whether `policy` has no limit above those that are `asked` for, and tells a guest no more of time and chance.
pub(super) fn is_within_limits(policy: &Policy, asked: &PolicyRequest) -> bool {
    let is_real = |random: Option<Random>| random.is_none_or(|random| random == Random::Real);
    let own = numbers(&limits(policy));
    own.iter()
        .zip(numbers(asked))
        .all(|((_, own), (_, most))| most.is_none_or(|most| own.is_some_and(|own| own <= most)))
        && policy.limits.clock.vagueness() >= asked.clock.map_or(0, Clock::vagueness)
        && (is_real(asked.random) || policy.limits.random != Random::Real)
}

/// Whether `policy` grants nothing beyond what is `asked` for, where that says anything.
pub(super) fn is_within_grants(policy: &Policy, asked: &PolicyRequest) -> bool {
    asked.scratch.is_none_or(|most| policy.scratch <= most)
        && asked.pass_env.as_ref().is_none_or(|asked| policy.pass_env.iter().all(|name| asked.contains(name)))
        && asked
            .secrets
            .as_ref()
            .is_none_or(|asked| policy.secrets.iter().all(|secret| asked.iter().any(|asked| asked.name == secret.name)))
        && asked
            .network
            .as_ref()
            .is_none_or(|asked| policy.network.iter().all(|rule| asked.iter().any(|asked| rule.is_within(asked))))
        && asked
            .mounts
            .as_ref()
            .is_none_or(|asked| policy.mounts.iter().all(|grant| is_within_mounts(policy, grant, asked)))
}

/// Whether `grant` of `policy` is of a mount that is `asked` for, and no more may be put there under all paths that it is granted at.
fn is_within_mounts(policy: &Policy, grant: &MountGrant, asked: &[MountRequest]) -> bool {
    let is_same = |one: &&MountRequest| one.name == grant.name && one.path == grant.path && one.access >= grant.access;
    let asked: Vec<_> = asked.iter().filter(is_same).collect();
    let rooms = [room(asked.iter().map(|one| one.disk)), room(asked.iter().map(|one| one.files))];
    !asked.is_empty() && taken(policy, grant).iter().zip(rooms).all(|(own, most)| *own <= most)
}

/// Bytes and files that `policy` lets a run put on the mount of `grant`, under all paths that it is granted at.
pub(super) fn taken(policy: &Policy, grant: &MountGrant) -> [u128; 2] {
    let same = || {
        let written = policy.mounts.iter().filter(|own| own.access == Access::ReadWrite);
        written.filter(|own| own.name == grant.name && own.path == grant.path)
    };
    [room(same().map(|own| own.disk)), room(same().map(|own| own.files))]
}

/// The sum of what there is room for; more than any number where there is no limit.
fn room(rooms: impl Iterator<Item = Option<u64>>) -> u128 {
    rooms.map(|room| room.map_or(u128::MAX, u128::from)).fold(0, u128::saturating_add)
}
