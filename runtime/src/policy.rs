//! `Policy`: what a run may use and touch, and how that comes about.
//!
//! ```text
//! the operator's Ceiling ──▶ the manifest's Asked ──▶ the caller's Asked ──▶ Policy, kept with the job
//!                     each may take away, none may add          └──────────▶ Findings: what was clamped or denied, by which rule
//! ```
//!
//! A limit that nobody asks for is the ceiling's. A grant (a mount, a variable of the daemon's) that nobody asks for is not given. Who
//! asks for a limit beyond what stands above gets what stands above; who asks for a grant that is not there is denied.

mod asked;
mod features;
mod finding;
mod nearest;
mod sameness;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::asked::{Asked, MountAsked};
use self::finding::Notes;
pub use self::finding::{Denied, Finding, Source, Verdict};
pub use self::nearest::with_nearest;
use crate::env::Env;
use crate::feature::Features;
use crate::limits::Limits;
use crate::mount::{Access, Mount};

/// What a run may use and touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    #[serde(flatten)]
    pub limits: Limits,
    pub mounts: Vec<MountGrant>,
    /// Variables of the daemon's environment that the guest gets.
    pub pass_env: Vec<String>,
    /// What its code was compiled with, beyond what is always on.
    pub features: Features,
}

/// A directory that is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountGrant {
    pub name: String,
    pub guest: String,
    pub access: Access,
}

/// What the operator allows. [`Ceiling::default`] has the limits of a daemon that was told nothing else, and nothing to grant.
#[derive(Clone, Debug, Default)]
pub struct Ceiling {
    pub limits: Limits,
    /// Directories that may be granted, by name, with the most that may be done below them.
    pub mounts: BTreeMap<String, Mount>,
    /// Variables that may be passed on.
    pub env: Env,
    pub excess: Excess,
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
    pub findings: Vec<Finding>,
}

/// What the grants of a policy are: opened, and with their values.
#[derive(Debug, Default)]
pub struct Grants {
    pub mounts: Vec<Mount>,
    pub env: Env,
}

impl Limits {
    /// These, with those that are asked for in their place: how an operator sets the ceiling.
    #[must_use]
    pub fn replaced(self, asked: &Asked) -> Self {
        Self {
            timeout: asked.timeout.unwrap_or(self.timeout),
            cpu: asked.cpu.or(self.cpu),
            memory: asked.memory.unwrap_or(self.memory),
            handles: asked.handles.map_or(self.handles, Into::into),
            hostcall: self.hostcall,
            stdout: asked.stdout.unwrap_or(self.stdout),
            stderr: asked.stderr.unwrap_or(self.stderr),
            fuel: asked.fuel.map(Into::into).or(self.fuel),
            clock: asked.clock.unwrap_or(self.clock),
            random: asked.random.unwrap_or(self.random),
            output: asked.output.unwrap_or(self.output),
        }
    }
}

impl Ceiling {
    /// One with these limits, and nothing to grant.
    pub fn of(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What a run of a handler with `manifest` gets when `caller` asks for it.
    pub fn judge(&self, manifest: &Asked, caller: &Asked) -> Judgement {
        let mut notes = Notes::default();
        let mut limits = self.limits;
        let lenient = self.excess == Excess::Clamp;
        for (by, above, asked, clamps) in [
            (Source::Manifest, Source::Operator, manifest, lenient),
            (Source::Caller, if says_limits(manifest) { Source::Manifest } else { Source::Operator }, caller, true),
        ] {
            if *asked == Asked::NOTHING {
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
                fuel: narrow.least_of_some("fuel", limits.fuel, asked.fuel.map(Into::into), |n| n.to_string()),
                clock: narrow.clock(limits.clock, asked.clock),
                random: narrow.random(limits.random, asked.random),
                // A choice, and neither way wider than the other: who is nearest to the run has it.
                output: asked.output.unwrap_or(limits.output),
            };
        }
        let mounts = self.mounts(manifest, caller, lenient, &mut notes);
        let pass_env = self.pass_env(manifest, caller, lenient, &mut notes);
        let features = self.features(manifest, caller, &mut notes);
        Judgement { policy: Policy { limits, mounts, pass_env, features }, findings: notes.into_findings() }
    }

    /// What `policy`, which was judged by this ceiling, grants.
    pub fn grants(&self, policy: &Policy) -> Grants {
        let mut grants = Grants::default();
        for MountGrant { name, guest, access } in &policy.mounts {
            if let Some(mount) = self.mounts.get(name) {
                grants.mounts.push(Mount { dir: mount.dir.clone(), guest_path: guest.clone(), access: *access });
            }
        }
        for name in &policy.pass_env {
            if let Some(value) = self.env.get(name) {
                grants.env.set(name, value).expect("it was a variable already");
            }
        }
        grants
    }

    fn mounts(&self, manifest: &Asked, caller: &Asked, lenient: bool, notes: &mut Notes) -> Vec<MountGrant> {
        let of_operator = |asked: &MountAsked| match self.mounts.get(&asked.name) {
            None => Err("the operator has no mount of this name".to_owned()),
            Some(mount) if mount.access < asked.access => Err("the operator grants it for reading only".to_owned()),
            Some(_) => Ok(()),
        };
        let wanted = manifest.mounts.as_deref();
        let wanted = wanted.map(|wanted| notes.granted("mounts", Source::Manifest, wanted, !lenient, of_operator));
        let Some(asked) = caller.mounts.as_deref() else { return grant(wanted.unwrap_or_default()) };
        let of_manifest = |asked: &MountAsked| match &wanted {
            Some(wanted) if !wanted.iter().any(|wanted| wanted.name == asked.name && wanted.access >= asked.access) => {
                Err("the manifest does without it".to_owned())
            }
            _ => of_operator(asked),
        };
        grant(notes.granted("mounts", Source::Caller, asked, true, of_manifest))
    }

    fn pass_env(&self, manifest: &Asked, caller: &Asked, lenient: bool, notes: &mut Notes) -> Vec<String> {
        let of_operator = |name: &String| match self.env.get(name) {
            None => Err("the operator does not pass it on, or does not have it".to_owned()),
            Some(_) => Ok(()),
        };
        let wanted = manifest.pass_env.as_deref();
        let wanted = wanted.map(|wanted| notes.granted("pass_env", Source::Manifest, wanted, !lenient, of_operator));
        let Some(asked) = caller.pass_env.as_deref() else { return wanted.unwrap_or_default() };
        let of_manifest = |name: &String| match &wanted {
            Some(wanted) if !wanted.contains(name) => Err("the manifest does without it".to_owned()),
            _ => of_operator(name),
        };
        notes.granted("pass_env", Source::Caller, asked, true, of_manifest)
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

fn says_limits(asked: &Asked) -> bool {
    let Asked { timeout, cpu, memory, handles, stdout, stderr, mounts: _, pass_env: _, features: _, .. } = asked;
    let Asked { fuel, clock, random, output: _, .. } = asked;
    timeout.is_some()
        || cpu.is_some()
        || memory.is_some()
        || handles.is_some()
        || stdout.is_some()
        || stderr.is_some()
        || fuel.is_some()
        || clock.is_some()
        || random.is_some()
}

fn grant(asked: Vec<MountAsked>) -> Vec<MountGrant> {
    let granted =
        asked.into_iter().map(|asked| MountGrant { guest: asked.guest_path(), access: asked.access, name: asked.name });
    granted.collect()
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

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests;
