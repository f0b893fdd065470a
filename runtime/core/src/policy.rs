//! `Policy`: what a run may use and touch, and how that comes about.
//!
//! ```text
//! the operator's Ceiling ──▶ the manifest's Asked ──▶ the caller's Asked ──▶ Policy, kept with the job
//!                     each may take away, none may add          └──────────▶ Findings: what was clamped or denied, by which rule
//! ```
//!
//! A limit that nobody asks for is the ceiling's. A grant (a mount, a variable of the daemon's, a rule for the network) that nobody asks for is not given. Who
//! asks for a limit beyond what stands above gets what stands above; who asks for a grant that is not there is denied.

mod determinism;
mod diagnostic;
mod features;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
#[cfg(any(test, fuzzing))]
mod intersect;
mod mounts;
mod network;
mod request;
mod secrets;
mod suggest;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use self::diagnostic::Notes;
pub use self::diagnostic::{Denied, Diagnostic, Source, Verdict};
pub use self::mounts::{MountGrant, Prefix, SCRATCH};
pub use self::network::{DenialReason, Host, Name, NameError, Ports, Protocol, Reach, Rule, RuleError};
pub use self::request::{MountRequest, PolicyRequest};
pub use self::secrets::{OfferedSecret, SecretGrant, SecretRequest};
pub use self::suggest::{suggest, with_suggestion};
use crate::env::Env;
use crate::feature::Features;
use crate::limits::Limits;
use crate::mount::{Mount, ScratchGrant};
use crate::secret::Secret;

/// What a run may use and touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    #[serde(flatten)]
    pub limits: Limits,
    pub mounts: Vec<MountGrant>,
    /// Variables of the daemon's environment that the guest gets.
    pub pass_env: Vec<String>,
    pub secrets: Vec<SecretGrant>,
    /// Bytes that may be written to a directory of the run's own; 0 where it has none.
    pub scratch: u64,
    /// What of the network may be reached.
    pub network: Vec<Rule>,
    /// What its code was compiled with, beyond what is always on.
    pub features: Features,
}

/// What the operator allows. [`Ceiling::default`] has the limits of a daemon that was told nothing else, and nothing to grant.
#[derive(Clone, Debug)]
pub struct Ceiling {
    pub limits: Limits,
    /// Directories that may be granted, by name, with the most that may be done below them.
    pub mounts: BTreeMap<String, Mount>,
    /// Variables that may be passed on.
    pub env: Env,
    /// Secrets that may be granted, by name.
    pub secrets: BTreeMap<String, OfferedSecret>,
    pub excess: Excess,
    /// What of the network may be granted.
    pub network: Vec<Rule>,
    /// Directories of the host below which any path may be granted.
    pub prefixes: Vec<Prefix>,
    /// Bytes of the largest scratch directory. Default 64 MiB.
    pub scratch: u64,
    /// Where scratch directories are made; without it there are none.
    pub scratch_folder: Option<Arc<Dir>>,
    /// Features of WebAssembly that manifests may ask for.
    pub features: Features,
}

/// What becomes of a manifest that asks for more than the ceiling allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It gets what there is, and that is told.
    #[default]
    Clamp,
    /// It is refused when it is pushed, and its jobs where the ceiling was lowered later.
    Refuse,
}

/// A policy, and what it took to come to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub policy: Policy,
    pub findings: Vec<Diagnostic>,
}

/// What the grants of a policy are: opened, and with their values.
#[derive(Debug, Default)]
pub struct Grants {
    pub mounts: Vec<Mount>,
    pub env: Env,
    /// With the variables in which the guest finds them.
    pub secrets: Vec<(String, Secret)>,
    pub scratch: Option<ScratchGrant>,
}

impl Limits {
    /// These, with those that are asked for in their place: how an operator sets the ceiling.
    #[must_use]
    pub fn replaced(self, asked: &PolicyRequest) -> Self {
        Self {
            timeout: asked.timeout.unwrap_or(self.timeout),
            cpu: asked.cpu.or(self.cpu),
            memory: asked.memory.unwrap_or(self.memory),
            handles: asked.handles.map_or(self.handles, Into::into),
            hostcall: self.hostcall,
            stdout: asked.stdout.unwrap_or(self.stdout),
            stderr: asked.stderr.unwrap_or(self.stderr),
            concurrency: asked.concurrency.or(self.concurrency),
            concurrency_per_key: asked.concurrency_per_key.or(self.concurrency_per_key),
            disk: asked.disk.unwrap_or(self.disk),
            files: asked.files.unwrap_or(self.files),
            connections: asked.connections.unwrap_or(self.connections),
            traffic: asked.traffic.unwrap_or(self.traffic),
            fuel: asked.fuel.map(Into::into).or(self.fuel),
            clock: asked.clock.unwrap_or(self.clock),
            random: asked.random.unwrap_or(self.random),
            output: asked.output.unwrap_or(self.output),
        }
    }
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            mounts: BTreeMap::new(),
            env: Env::new(),
            secrets: BTreeMap::new(),
            excess: Excess::default(),
            network: Vec::new(),
            features: Features::new(),
            prefixes: Vec::new(),
            scratch: 64 << 20,
            scratch_folder: None,
        }
    }
}

impl Ceiling {
    /// One with these limits, and nothing to grant.
    pub fn of(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What a run of `handler` with `manifest` gets when `caller` asks for it.
    pub fn judge(&self, handler: &str, manifest: &PolicyRequest, caller: &PolicyRequest) -> Judgement {
        let mut notes = Notes::default();
        let mut limits = self.limits;
        let mut scratch = 0;
        let lenient = self.excess == Excess::Clamp;
        for (by, above, asked, clamps) in [
            (Source::Manifest, Source::Operator, manifest, lenient),
            (Source::Caller, if says_limits(manifest) { Source::Manifest } else { Source::Operator }, caller, true),
        ] {
            if *asked == PolicyRequest::NOTHING {
                continue;
            }
            let mut narrow = Narrow { by, above, clamps, notes: &mut notes };
            limits = Limits {
                timeout: narrow.least("timeout", limits.timeout, asked.timeout, time),
                cpu: narrow.least_of_some("cpu", limits.cpu, asked.cpu, time),
                memory: narrow.least("memory", limits.memory, asked.memory, size),
                handles: narrow.least("handles", limits.handles, asked.handles.map(Into::into), |n| n.to_string()),
                hostcall: limits.hostcall,
                stdout: narrow.least("stdout", limits.stdout, asked.stdout, size),
                stderr: narrow.least("stderr", limits.stderr, asked.stderr, size),
                concurrency: narrow.least_of_some("concurrency", limits.concurrency, asked.concurrency, number),
                concurrency_per_key: narrow.least_of_some(
                    "concurrency_per_key",
                    limits.concurrency_per_key,
                    asked.concurrency_per_key,
                    number,
                ),
                disk: narrow.least("disk", limits.disk, asked.disk, size),
                files: narrow.least("files", limits.files, asked.files, |n| n.to_string()),
                connections: narrow.least("connections", limits.connections, asked.connections, |n| n.to_string()),
                traffic: narrow.least("traffic", limits.traffic, asked.traffic, size),
                fuel: narrow.least_of_some("fuel", limits.fuel, asked.fuel.map(Into::into), |n| n.to_string()),
                clock: narrow.clock(limits.clock, asked.clock),
                random: narrow.random(limits.random, asked.random),
                // A choice, and neither way wider than the other: who is nearest to the run has it.
                output: asked.output.unwrap_or(limits.output),
            };
            if asked.scratch.is_some() {
                let said = by == Source::Caller && manifest.scratch.is_some();
                let (most, above) = if said { (scratch, Source::Manifest) } else { (self.scratch, Source::Operator) };
                scratch = Narrow { above, ..narrow }.least("scratch", most, asked.scratch, size);
            }
        }
        let asked = [manifest.mounts.as_deref(), caller.mounts.as_deref()];
        let mounts = self.mounts(asked, scratch > 0, lenient, &mut notes);
        let pass_env = self.pass_env(manifest, caller, lenient, &mut notes);
        let secrets = self.secret_grants(handler, manifest, caller, lenient, &mut notes);
        let network = self.network(manifest, caller, lenient, &mut notes);
        let features = self.features(manifest, caller, &mut notes);
        let policy = Policy { limits, mounts, pass_env, secrets, scratch, network, features };
        Judgement { policy, findings: notes.into_findings() }
    }

    /// What `policy`, which was judged by this ceiling, grants.
    ///
    /// # Errors
    /// [`Denied`] where a path below a prefix cannot be opened, or there is no place for a scratch directory.
    pub fn grants(&self, policy: &Policy) -> Result<Grants, Denied> {
        let mut grants = Grants::default();
        for grant in &policy.mounts {
            grants.mounts.extend(self.open(grant)?);
        }
        for name in &policy.pass_env {
            if let Some(value) = self.env.get(name) {
                grants.env.set(name, value).expect("it was a variable already");
            }
        }
        for SecretGrant { name, env } in &policy.secrets {
            if let Some(offered) = self.secrets.get(name) {
                grants.secrets.retain(|(known, _)| known != env);
                grants.secrets.push((env.clone(), offered.secret.clone()));
            }
        }
        if policy.scratch > 0 {
            let folder = self.scratch_folder.clone().ok_or_else(|| Denied::scratch(policy.scratch))?;
            grants.scratch = Some(ScratchGrant { folder, bytes: policy.scratch });
        }
        Ok(grants)
    }

    fn pass_env(
        &self,
        manifest: &PolicyRequest,
        caller: &PolicyRequest,
        lenient: bool,
        notes: &mut Notes,
    ) -> Vec<String> {
        let of_operator = |name: &String| match self.env.get(name) {
            None => Err("the operator does not pass it on, or does not have it".to_owned()),
            Some(_) => Ok(()),
        };
        let asked = [manifest.pass_env.as_deref(), caller.pass_env.as_deref()];
        notes.granted_in_turn("pass_env", asked, lenient, of_operator, String::eq)
    }
}

impl Judgement {
    /// The policy, if nothing is denied.
    ///
    /// # Errors
    /// [`Denied`]
    pub fn allowed(self) -> Result<Policy, Denied> {
        if self.findings.iter().any(|finding| finding.verdict == Verdict::Denied) {
            return Err(Denied(self.findings));
        }
        Ok(self.policy)
    }
}

/// Whether it asks for any limit. All keys are named, so that a new one is thought of here.
fn says_limits(asked: &PolicyRequest) -> bool {
    let PolicyRequest {
        timeout,
        cpu,
        memory,
        handles,
        stdout,
        stderr,
        disk,
        files,
        connections,
        traffic,
        concurrency,
        concurrency_per_key,
        fuel,
        clock,
        random,
        // Grants, a choice, and what is told of by itself.
        mounts: _,
        pass_env: _,
        secrets: _,
        network: _,
        features: _,
        output: _,
        scratch: _,
    } = asked;
    timeout.or(*cpu).is_some()
        || [memory, stdout, stderr, disk, files, connections, traffic].iter().any(|limit| limit.is_some())
        || handles.or(*concurrency).or(*concurrency_per_key).is_some()
        || fuel.is_some()
        || clock.is_some()
        || random.is_some()
}

/// One narrowing of the limits.
struct Narrow<'a> {
    by: Source,
    above: Source,
    clamps: bool,
    notes: &'a mut Notes,
}

impl Narrow<'_> {
    /// The smaller of both.
    fn least<T: Copy + Ord>(&mut self, key: &'static str, have: T, asked: Option<T>, show: fn(T) -> String) -> T {
        let Some(asked) = asked else { return have };
        if asked > have {
            let rule = format!("the {}'s {key} is {}", self.above, show(have));
            self.notes.limit(key, self.by, show(asked), show(have), rule, self.clamps);
        }
        asked.min(have)
    }

    /// The same, where there may be no limit.
    fn least_of_some<T: Copy + Ord>(
        &mut self,
        key: &'static str,
        have: Option<T>,
        asked: Option<T>,
        show: fn(T) -> String,
    ) -> Option<T> {
        match have {
            None => asked,
            Some(have) => Some(self.least(key, have, asked, show)),
        }
    }
}

fn number(number: NonZeroUsize) -> String {
    number.to_string()
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests;
