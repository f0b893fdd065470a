//! Limits: each level may lower them, and none may raise them.

use std::num::NonZeroUsize;

use crate::determinism::{Clock, Random};
use crate::limits::Limits;
use crate::policy::ceiling::Ceiling;
use crate::policy::diagnostic::Source;
use crate::policy::findings::Findings;
use crate::policy::request::PolicyRequest;
use crate::units::{format_duration, format_size};

impl Ceiling {
    /// Returns the limits, and the size of the scratch directory.
    pub(super) fn evaluate_limits(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        clamps_manifest: bool,
        findings: &mut Findings,
    ) -> (Limits, u64) {
        let mut limits = self.limits;
        let mut scratch = 0;
        let above_caller = if has_limits(manifest) { Source::Manifest } else { Source::Operator };
        for (by, above, request, clamps) in [
            (Source::Manifest, Source::Operator, manifest, clamps_manifest),
            (Source::Caller, above_caller, caller, true),
        ] {
            if *request == PolicyRequest::EMPTY {
                continue;
            }
            let mut reduction = Reduction { by, above, clamps, findings };
            limits = reduction.reduce(limits, request);
            if request.scratch.is_some() {
                let is_set_by_manifest = by == Source::Caller && manifest.scratch.is_some();
                let (max, above) =
                    if is_set_by_manifest { (scratch, Source::Manifest) } else { (self.scratch, Source::Operator) };
                scratch = Reduction { above, ..reduction }.min("scratch", max, request.scratch, format_size);
            }
        }
        (limits, scratch)
    }
}

/// Returns whether `request` contains any limit: anything but grants, a choice, and a limit whose diagnostic names its own source.
fn has_limits(request: &PolicyRequest) -> bool {
    let limits = PolicyRequest {
        mounts: None,
        pass_env: None,
        secrets: None,
        network: None,
        http: None,
        features: None,
        output: None,
        scratch: None,
        ..request.clone()
    };
    limits != PolicyRequest::EMPTY
}

impl Limits {
    /// Returns these limits with the requested ones in their place. An operator sets the ceiling in this way.
    #[must_use]
    pub fn overridden_by(self, requested: &PolicyRequest) -> Self {
        Self {
            timeout: requested.timeout.unwrap_or(self.timeout),
            cpu: requested.cpu.or(self.cpu),
            memory: requested.memory.unwrap_or(self.memory),
            handles: requested.handles.map_or(self.handles, Into::into),
            hostcall: self.hostcall,
            stdout: requested.stdout.unwrap_or(self.stdout),
            stderr: requested.stderr.unwrap_or(self.stderr),
            concurrency: requested.concurrency.or(self.concurrency),
            concurrency_per_key: requested.concurrency_per_key.or(self.concurrency_per_key),
            disk: requested.disk.unwrap_or(self.disk),
            files: requested.files.unwrap_or(self.files),
            connections: requested.connections.unwrap_or(self.connections),
            traffic: requested.traffic.unwrap_or(self.traffic),
            reuse: requested.reuse.unwrap_or(self.reuse),
            keyvalue: requested.keyvalue.unwrap_or(self.keyvalue),
            keys: requested.keys.unwrap_or(self.keys),
            fuel: requested.fuel.map(Into::into).or(self.fuel),
            clock: requested.clock.unwrap_or(self.clock),
            random: requested.random.unwrap_or(self.random),
            output: requested.output.unwrap_or(self.output),
        }
    }
}

/// Reduces limits to the request of one level.
struct Reduction<'a> {
    /// The source of the request.
    by: Source,
    /// The source of the limits so far.
    above: Source,
    /// Whether a request for more is clamped rather than denied.
    clamps: bool,
    findings: &'a mut Findings,
}

impl Reduction<'_> {
    fn reduce(&mut self, limits: Limits, request: &PolicyRequest) -> Limits {
        Limits {
            timeout: self.min("timeout", limits.timeout, request.timeout, format_duration),
            cpu: self.min_of_optional("cpu", limits.cpu, request.cpu, format_duration),
            memory: self.min("memory", limits.memory, request.memory, format_size),
            handles: self.min("handles", limits.handles, request.handles.map(Into::into), |n| n.to_string()),
            hostcall: limits.hostcall,
            stdout: self.min("stdout", limits.stdout, request.stdout, format_size),
            stderr: self.min("stderr", limits.stderr, request.stderr, format_size),
            concurrency: self.min_of_optional(
                "concurrency",
                limits.concurrency,
                request.concurrency,
                |n: NonZeroUsize| n.to_string(),
            ),
            concurrency_per_key: self.min_of_optional(
                "concurrency_per_key",
                limits.concurrency_per_key,
                request.concurrency_per_key,
                |n: NonZeroUsize| n.to_string(),
            ),
            disk: self.min("disk", limits.disk, request.disk, format_size),
            files: self.min("files", limits.files, request.files, |n| n.to_string()),
            connections: self.min("connections", limits.connections, request.connections, |n| n.to_string()),
            traffic: self.min("traffic", limits.traffic, request.traffic, format_size),
            reuse: self.min("reuse", limits.reuse, request.reuse, |n| n.to_string()),
            keyvalue: self.min("keyvalue", limits.keyvalue, request.keyvalue, format_size),
            keys: self.min("keys", limits.keys, request.keys, |n| n.to_string()),
            fuel: self.min_of_optional("fuel", limits.fuel, request.fuel.map(Into::into), |n| n.to_string()),
            clock: self.clock(limits.clock, request.clock),
            random: self.random(limits.random, request.random),
            // Neither choice is wider than the other, so the level closest to the run decides.
            output: request.output.unwrap_or(limits.output),
        }
    }

    /// Returns the smaller of the limit and the request.
    fn min<T: Copy + Ord>(&mut self, key: &'static str, limit: T, requested: Option<T>, format: fn(T) -> String) -> T {
        let Some(requested) = requested else { return limit };
        if requested > limit {
            let rule = format!("the {}'s {key} is {}", self.above, format(limit));
            self.findings.limit(key, self.by, format(requested), format(limit), rule, self.clamps);
        }
        requested.min(limit)
    }

    /// Returns the smaller of the limit, if there is one, and the request.
    fn min_of_optional<T: Copy + Ord>(
        &mut self,
        key: &'static str,
        limit: Option<T>,
        requested: Option<T>,
        format: fn(T) -> String,
    ) -> Option<T> {
        match limit {
            None => requested,
            Some(limit) => Some(self.min(key, limit, requested, format)),
        }
    }

    /// Returns the less precise of both clocks. Returns the requested one if both are fixed, because neither reveals the time.
    fn clock(&mut self, limit: Clock, requested: Option<Clock>) -> Clock {
        let Some(requested) = requested else { return limit };
        if requested.precision_rank() >= limit.precision_rank() {
            return requested;
        }
        let rule = format!("the {}'s clock is {limit}", self.above);
        self.findings.limit("clock", self.by, requested.to_string(), limit.to_string(), rule, self.clamps);
        limit
    }

    /// Returns the requested source of random bytes, unless the request is for real ones and the limit is a seed.
    fn random(&mut self, limit: Random, requested: Option<Random>) -> Random {
        match (limit, requested) {
            (limit, None) => limit,
            (limit @ Random::Seeded(_), Some(Random::Real)) => {
                let rule = format!("the {}'s random is {limit}", self.above);
                self.findings.limit("random", self.by, Random::Real.to_string(), limit.to_string(), rule, self.clamps);
                limit
            }
            (_, Some(requested)) => requested,
        }
    }
}
