//! Landlock: which files a process may touch, which TCP ports it may bind, and that it leaves other processes alone.
//!
//! | level | Linux | binds |
//! |---|---|---|
//! | 2 | 5.19 | files and folders |
//! | 3 | 6.2 | the truncation of files |
//! | 4 | 6.7 | binding and connecting TCP |
//! | 5 | 6.10 | `ioctl` on devices |
//! | 6 | 6.12 | signals and abstract unix sockets of other processes |
//!
//! Level 1 is done without: under it nothing is moved from one folder to another, as a socket is on its way to its path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};

use super::Lack;

/// The level that has all that is used here.
pub(super) const FULL: u8 = 6;

/// What it is called that TCP may be connected and names be looked up.
pub const NETWORK: &str = "the first of [policy] network";

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(BitFlags<AccessFs>);

impl Access {
    /// Read files whose names are known.
    pub const READ_FILES: Self = Self(make_bitflags!(AccessFs::{ReadFile}));
    /// Read files and list folders.
    pub const READ: Self = Self(make_bitflags!(AccessFs::{ReadFile | ReadDir}));
    /// Read files and change what is in them, but neither make nor remove any.
    pub const CHANGE_FILES: Self = Self(make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate}));
    /// All but to execute, and to make devices.
    pub const WRITE: Self = Self(make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeFifo | MakeSock | RemoveFile | RemoveDir | Refer
    }));
    /// Make sockets and folders, move them and remove them.
    pub const SOCKETS: Self = Self(make_bitflags!(AccessFs::{
        ReadDir | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer
    }));
    /// Execute and read files.
    pub const EXECUTE: Self = Self(make_bitflags!(AccessFs::{Execute | ReadFile}));
}

/// What may be done below one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is there for, in the operator's words.
    pub what: String,
    /// Absolute, without symlinks.
    pub path: PathBuf,
    pub access: Access,
}

/// Everything that a process may still do; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub paths: Vec<Rule>,
    /// TCP ports that may be bound; 0 for those that the kernel chooses.
    pub ports: BTreeSet<u16>,
    /// Whether TCP may be connected.
    pub connects: bool,
    /// Whether abstract unix sockets of other processes may be spoken to.
    pub speaks_to_abstract: bool,
}

impl Rules {
    /// What `other` lets a process do that these do not, each once.
    pub fn lacking<'a>(&self, other: &'a Self) -> BTreeSet<&'a str> {
        let lacking = other.paths.iter().filter(|rule| !self.below(&rule.path).contains(rule.access.0));
        let connects = (other.connects && !self.connects).then_some(NETWORK);
        lacking.map(|rule| rule.what.as_str()).chain(connects).collect()
    }

    /// All that may be done below `path`: the kernel adds up the rules of all folders on the way.
    fn below(&self, path: &Path) -> BitFlags<AccessFs> {
        let on_the_way = self.paths.iter().filter(|rule| path.starts_with(&rule.path));
        on_the_way.fold(BitFlags::EMPTY, |all, rule| all | rule.access.0)
    }
}

/// Binds this thread to `rules`. Gives the level that holds, and what is to be said where that is not the full one.
pub(super) fn restrict(rules: &Rules) -> (u8, Option<Lack>) {
    match enforce(rules) {
        Ok(status) => level(&status),
        Err(error) => (0, Some(error.into())),
    }
}

fn enforce(rules: &Rules) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?;
    if !rules.connects {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    if !rules.speaks_to_abstract {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut ruleset = ruleset.create()?;
    for rule in &rules.paths {
        // What is not there cannot be had, and whoever needs it says so.
        if let Ok(path) = PathFd::new(&rule.path) {
            ruleset = ruleset.add_rule(PathBeneath::new(path, rule.access.0))?;
        }
    }
    for port in &rules.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    ruleset.restrict_self()
}

fn level(status: &RestrictionStatus) -> (u8, Option<Lack>) {
    match status.landlock {
        LandlockStatus::NotImplemented => (0, Some(Lack::NoLandlock)),
        LandlockStatus::NotEnabled => (0, Some(Lack::LandlockDisabled)),
        LandlockStatus::Available { effective_abi, .. } => {
            let has = (effective_abi as u8).min(FULL);
            let holds = if status.ruleset == RulesetStatus::NotEnforced { 0 } else { has };
            (holds, (holds < FULL).then_some(Lack::OldLandlock(has)))
        }
    }
}
