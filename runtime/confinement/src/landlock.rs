//! Landlock: restricts which files a process may use, which TCP ports it may bind, and which other processes it may signal.
//!
//! | level | Linux | restricts |
//! |---|---|---|
//! | 2 | 5.19 | files and directories |
//! | 3 | 6.2 | truncating files |
//! | 4 | 6.7 | binding and connecting TCP |
//! | 5 | 6.10 | `ioctl` on devices |
//! | 6 | 6.12 | signals to other processes, and their abstract unix sockets |
//!
//! Level 1 is not used: it forbids moving files between directories, and the daemon moves a new socket to its path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};

use super::error::ConfinementError;

/// The level that has all restrictions used here.
pub(super) const FULL: u8 = 6;

/// The name of the permission to open TCP connections and look up names, in the words of the configuration.
pub const NETWORK: &str = "the first of [policy] network";

/// The operations that are allowed below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(BitFlags<AccessFs>);

impl Access {
    /// Read files, but not list directories.
    pub const READ_FILES: Self = Self(make_bitflags!(AccessFs::{ReadFile}));
    /// Read files and list directories.
    pub const READ: Self = Self(make_bitflags!(AccessFs::{ReadFile | ReadDir}));
    /// Read and write existing files, but not create or remove any.
    pub const CHANGE_FILES: Self = Self(make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate}));
    /// Everything except executing files and creating devices.
    pub const WRITE: Self = Self(make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeFifo | MakeSock | RemoveFile | RemoveDir | Refer
    }));
    /// Create, move and remove sockets and directories.
    pub const SOCKETS: Self = Self(make_bitflags!(AccessFs::{
        ReadDir | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer
    }));
    /// Execute and read files.
    pub const EXECUTE: Self = Self(make_bitflags!(AccessFs::{Execute | ReadFile}));
}

/// The access to one path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The setting that needs it, in the words of the configuration.
    pub purpose: String,
    /// An absolute path without symlinks.
    pub path: PathBuf,
    pub access: Access,
}

/// Everything that a process may still do. The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub paths: Vec<Rule>,
    /// TCP ports that it may bind. 0 stands for ports that the kernel chooses.
    pub ports: BTreeSet<u16>,
    /// Whether it may open TCP connections to any port.
    pub allows_tcp_connect: bool,
    /// TCP ports that it may connect to in any case.
    pub connect_ports: BTreeSet<u16>,
    /// Whether it may connect to abstract unix sockets of other processes.
    pub allows_abstract_sockets: bool,
}

impl Rules {
    /// Returns the purposes of what `other` allows and these rules do not, without duplicates.
    pub fn missing<'a>(&self, other: &'a Self) -> BTreeSet<&'a str> {
        let paths = other.paths.iter().filter(|rule| !self.access_below(&rule.path).contains(rule.access.0));
        let network = (other.allows_tcp_connect && !self.allows_tcp_connect).then_some(NETWORK);
        paths.map(|rule| rule.purpose.as_str()).chain(network).collect()
    }

    /// Returns everything that is allowed below `path`. The kernel combines the rules of all its parent directories.
    fn access_below(&self, path: &Path) -> BitFlags<AccessFs> {
        let parents = self.paths.iter().filter(|rule| path.starts_with(&rule.path));
        parents.fold(BitFlags::EMPTY, |all, rule| all | rule.access.0)
    }
}

/// Restricts this thread to `rules`. Returns the level that applies, and an error if it is not the full one.
pub(super) fn restrict(rules: &Rules) -> (u8, Option<ConfinementError>) {
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
    if !rules.allows_tcp_connect {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    if !rules.allows_abstract_sockets {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut ruleset = ruleset.create()?;
    for rule in &rules.paths {
        // Skips a path that does not exist. The code that needs it reports the error.
        if let Ok(path) = PathFd::new(&rule.path) {
            ruleset = ruleset.add_rule(PathBeneath::new(path, rule.access.0))?;
        }
    }
    for port in &rules.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    for port in rules.connect_ports.iter().filter(|_| !rules.allows_tcp_connect) {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    ruleset.restrict_self()
}

fn level(status: &RestrictionStatus) -> (u8, Option<ConfinementError>) {
    match status.landlock {
        LandlockStatus::NotImplemented => (0, Some(ConfinementError::NoLandlock)),
        LandlockStatus::NotEnabled => (0, Some(ConfinementError::LandlockDisabled)),
        LandlockStatus::Available { effective_abi, .. } => {
            let available = (effective_abi as u8).min(FULL);
            let enforced = if status.ruleset == RulesetStatus::NotEnforced { 0 } else { available };
            (enforced, (enforced < FULL).then_some(ConfinementError::OldLandlock(available)))
        }
    }
}
