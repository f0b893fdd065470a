//! `Confinement`: gives up all rights of the daemon that its configuration does not need.
//!
//! The daemon keeps access to what the configuration names: a mount, the directory of a socket, a file that a reload reads again. Nothing can
//! extend this later, not even the daemon itself. So a reload fails if the configuration names more, with an error that lists it.

mod allowlist;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use capstan_confinement::{ConfinementReport, Mode, Requirements, Rules, confine};
use rustix::thread::CapabilitySet;

use self::allowlist::{daemon_rules, job_rules};
use super::files;
use super::settings::Settings;

/// The capabilities that a daemon keeps that runs as root: for giving a socket to a group, for mounts of other users, and for ports below
/// 1024.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// The confinement of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Confinement {
    mode: Mode,
    daemon: ConfinementReport,
    /// The remaining access, if Landlock enforces it.
    rules: Option<Rules>,
}

/// This machine does not support all of the confinement that `--confine=strict` requires.
#[derive(Debug, thiserror::Error)]
#[error("--confine=strict is not possible on this machine: {0}; --confine=best starts without it")]
pub(super) struct ConfinementError(String);

/// What a configuration needs that the confined daemon can no longer access.
#[derive(Debug, thiserror::Error)]
#[error("this needs a restart, because the daemon is confined to what its configuration named at its start: {0}")]
pub(super) struct OutsideConfinement(String);

impl Confinement {
    /// Gives up all rights that `settings` do not need, unless they turn confinement off. Call this while the process has one thread, because
    /// it applies to that thread and its children. `config` is the configuration file, `notify_socket` the service manager's socket.
    ///
    /// # Errors
    /// [`ConfinementError`]
    pub(super) fn apply(
        settings: &Settings,
        config: Option<&Path>,
        notify_socket: Option<&OsStr>,
    ) -> Result<Self, ConfinementError> {
        let mode = settings.confine;
        if mode == Mode::Off {
            return Ok(Self { mode, daemon: ConfinementReport::inherited(), rules: None });
        }
        // A rule needs an existing path. If the directory cannot be created, the start reports it later.
        drop(files::open_data(&settings.data));
        // The temporary files of profiles. This fails only if it was set before.
        drop(tempfile::env::override_temp_dir(&settings.data));
        let allows_abstract_sockets = notify_socket.is_some_and(|socket| socket.as_bytes().starts_with(b"@"));
        let requirements = Requirements {
            capabilities: CAPABILITIES,
            rules: Rules { allows_abstract_sockets, ..daemon_rules(settings, config) },
            syscalls: None,
        };
        let daemon = confine(&requirements);
        if mode == Mode::Strict && !daemon.gaps.is_empty() {
            return Err(ConfinementError(daemon.gaps.join("; ")));
        }
        let rules = (daemon.landlock > 0).then_some(requirements.rules);
        Ok(Self { mode, daemon, rules })
    }

    /// Returns what the daemon has given up.
    pub(super) fn daemon(&self) -> &ConfinementReport {
        &self.daemon
    }

    /// Checks that the daemon can still access everything that `settings` grant to jobs.
    ///
    /// # Errors
    /// [`OutsideConfinement`]
    pub(super) fn check(&self, settings: &Settings) -> Result<(), OutsideConfinement> {
        let Some(allowed) = &self.rules else { return Ok(()) };
        let needed = job_rules(settings);
        let missing = allowed.missing(&needed);
        if missing.is_empty() { Ok(()) } else { Err(OutsideConfinement(Vec::from_iter(missing).join(", "))) }
    }

    /// Logs what the daemon and its compilers have given up.
    pub(super) fn log(&self, compiler: &ConfinementReport) {
        let ConfinementReport { no_new_privs, landlock, seccomp, .. } = self.daemon;
        let capabilities = self.daemon.capabilities.join(" ");
        let lacks = [&self.daemon.gaps[..], &compiler.gaps].concat().join("; ");
        tracing::info!(
            mode = %self.mode,
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
