//! What the daemon goes on to need, of which all else is given up at its start.
//!
//! What it needs is what the configuration names: a mount, the folder of a socket, a file that is read anew at a reload. Nobody can widen that
//! later, the daemon itself included; so a reload that names more is refused with what it names.

mod allowlist;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use capstan_confinement::{ConfinementReport, Mode, Requirements, Rules, confine};
use rustix::thread::CapabilitySet;

use self::allowlist::{granted, rules};
use super::data_dirs;
use super::settings::Settings;

/// What is left to a daemon that runs as root, of what root may: to give a socket to a group, to use mounts that belong to others, and
/// ports below 1024.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// What was given up.
#[derive(Clone, Debug)]
pub(super) struct Confinement {
    mode: Mode,
    daemon: ConfinementReport,
    /// What is left, where Landlock keeps it.
    rules: Option<Rules>,
}

/// The daemon would have given up less than it was told to.
#[derive(Debug, thiserror::Error)]
#[error("--confine=strict cannot be had here: {0}; --confine=best starts with less")]
pub(super) struct TooLittle(String);

/// What a configuration names that the daemon has given up.
#[derive(Debug, thiserror::Error)]
#[error("this needs a restart, for the daemon is confined to what it was started with: {0}")]
pub(super) struct GivenUp(String);

impl Confinement {
    /// Gives up all but what `settings` need, which were read from `config`, as far as they ask for it. `notify` is the service manager's
    /// socket.
    ///
    /// # Errors
    /// [`TooLittle`]
    pub(super) fn begin(settings: &Settings, config: Option<&Path>, notify: Option<&OsStr>) -> Result<Self, TooLittle> {
        let mode = settings.confine;
        if mode == Mode::Off {
            return Ok(Self { mode, daemon: ConfinementReport::inherited(), rules: None });
        }
        // It must be there to be named. Where it cannot be made, the start says so when it opens it.
        drop(data_dirs::open_data(&settings.data));
        // Where profiles are put together; fails only where that was said before.
        drop(tempfile::env::override_temp_dir(&settings.data));
        let allows_abstract_sockets = notify.is_some_and(|socket| socket.as_bytes().starts_with(b"@"));
        let needs = Requirements {
            capabilities: KEPT,
            rules: Rules { allows_abstract_sockets, ..rules(settings, config) },
            syscalls: None,
        };
        let daemon = confine(&needs);
        if mode == Mode::Strict && !daemon.gaps.is_empty() {
            return Err(TooLittle(daemon.gaps.join("; ")));
        }
        let rules = (daemon.landlock > 0).then_some(needs.rules);
        Ok(Self { mode, daemon, rules })
    }

    /// What the daemon itself has given up.
    pub(super) fn daemon(&self) -> &ConfinementReport {
        &self.daemon
    }

    /// Checks that all that `settings` name is still to be had.
    ///
    /// # Errors
    /// [`GivenUp`]
    pub(super) fn check(&self, settings: &Settings) -> Result<(), GivenUp> {
        let Some(held) = &self.rules else { return Ok(()) };
        let wanted = granted(settings);
        let lacking = held.missing(&wanted);
        if lacking.is_empty() { Ok(()) } else { Err(GivenUp(Vec::from_iter(lacking).join(", "))) }
    }

    /// Tells in the log what was given up by the daemon, and what by its compilers.
    pub(super) fn tell(&self, compiler: &ConfinementReport) {
        let ConfinementReport { no_new_privs, landlock, seccomp, .. } = self.daemon;
        let capabilities = self.daemon.capabilities.join(" ");
        let lacks = [&self.daemon.gaps[..], &compiler.gaps].concat().join("; ");
        tracing::info!(
            mode = ?self.mode,
            no_new_privs,
            landlock,
            capabilities,
            seccomp,
            compiler.landlock,
            compiler.seccomp,
            lacks,
            "confined"
        );
    }
}
