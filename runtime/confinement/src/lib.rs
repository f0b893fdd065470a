//! Confinement: what a process gives up for good before it does anything, so that whoever breaks out of the sandbox finds little.
//!
//! The kernel keeps it, each part by itself: no new privileges, no [`capabilities`] but those that are needed, [`landlock`] on files and
//! sockets, [`seccomp`] on system calls. A kernel that lacks a part gives the others; what came of it is a value, [`Confined`], and
//! says why it is less than all.
//!
//! All of this binds the thread that asks and those that it starts. It is asked for where there is one.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make folders and tasks of their own"))]

mod capabilities;
mod landlock;
mod seccomp;

use std::str::FromStr;

use capstan_core::policy::suggest;
use rustix::thread::{CapabilitySet, SecureComputingMode};
use serde::{Deserialize, Serialize};

pub use self::landlock::{Access, NETWORK, Rule, Rules};

/// How much confinement is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Mode {
    /// None.
    Off,
    /// As much as the kernel gives.
    #[default]
    Best,
    /// All, or no start.
    Strict,
}

/// The text is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("confinement is off, best or strict, and not {text:?}{}", .nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct UnknownMode {
    text: String,
    nearest: Option<&'static str>,
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "off" => Ok(Self::Off),
            "best" => Ok(Self::Best),
            "strict" => Ok(Self::Strict),
            _ => Err(UnknownMode { text: text.to_owned(), nearest: suggest(text, ["off", "best", "strict"]) }),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = UnknownMode;

    fn try_from(text: String) -> Result<Self, UnknownMode> {
        text.parse()
    }
}

/// What a process goes on to need.
#[derive(Debug)]
pub struct Needs {
    pub capabilities: CapabilitySet,
    pub rules: Rules,
    /// The only system calls that it will make; without it, all may be made.
    pub calls: Option<&'static [i64]>,
}

/// What a process has given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// Whether no program that it executes has more rights than itself.
    pub no_new_privs: bool,
    /// The capabilities that it still has.
    pub capabilities: Vec<String>,
    /// The level of Landlock that binds it, up to 6; 0 where none does.
    pub landlock: u8,
    /// Whether its system calls are filtered.
    pub seccomp: bool,
    /// Why it is not all that was asked for.
    pub lacks: Vec<String>,
}

/// Why a process has given up less than it would.
#[derive(Debug, thiserror::Error)]
pub enum Lack {
    #[error("it cannot do without new privileges: {0}")]
    Privileges(rustix::io::Errno),
    #[error("it cannot give its capabilities up: {0}")]
    Capabilities(rustix::io::Errno),
    #[error("there is no Landlock: this kernel is built without it, or whoever started the daemon withholds it")]
    NoLandlock,
    #[error("there is no Landlock: this kernel has it and was booted without; add it to lsm= on its command line")]
    LandlockDisabled,
    #[error("Landlock of this kernel is of level {0}, and level 6 comes with Linux 6.12")]
    OldLandlock(u8),
    #[error("Landlock: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    #[error("system calls cannot be filtered: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

impl Confined {
    /// What binds this thread without anything having been asked for: whoever started it may have given up much already. Landlock cannot
    /// be told from outside.
    pub fn by_others() -> Self {
        Self {
            no_new_privs: rustix::thread::no_new_privs().unwrap_or_default(),
            capabilities: capabilities::left(),
            landlock: 0,
            seccomp: rustix::thread::secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter),
            lacks: Vec::new(),
        }
    }
}

/// Gives up, on this thread and for those that it starts, everything but what `needs` names, as far as the kernel lets it.
pub fn confine(needs: &Needs) -> Confined {
    let mut lacks = Vec::new();
    lacks.extend(rustix::thread::set_no_new_privs(true).err().map(Lack::Privileges));
    lacks.extend(capabilities::keep(needs.capabilities).err().map(Lack::Capabilities));
    let (landlock, lack) = landlock::restrict(&needs.rules);
    lacks.extend(lack);
    let mut confined = Confined { landlock, ..Confined::by_others() };
    // The last: what was asked above may be what is filtered.
    if let Some(calls) = needs.calls {
        let filtered = seccomp::allow(calls);
        confined.seccomp = filtered.is_ok();
        lacks.extend(filtered.err().map(Lack::Seccomp));
    }
    confined.lacks = lacks.iter().map(ToString::to_string).collect();
    confined
}

/// As [`confine`], for a process that compiles: it needs nothing but what it was handed, and computes.
pub fn confine_compiler(mode: Mode) -> Confined {
    match mode {
        Mode::Off => Confined::by_others(),
        Mode::Best | Mode::Strict => confine(&Needs {
            capabilities: CapabilitySet::empty(),
            rules: Rules::default(),
            calls: Some(seccomp::COMPILER),
        }),
    }
}

#[cfg(test)]
mod tests;
