//! `DaemonState`: the parts of the daemon that builtins use.

use std::sync::{Arc, OnceLock};

use capstan_api::Api;
use capstan_confinement::{ConfinementReport, Mode};
use capstan_engine::engine::Engine;
use capstan_listen::listenbuffer::Gate;
use capstan_listen::listener::{self, InheritedSockets};
use capstan_listen::tls;
use capstan_sandbox::{CompileLimits, Sandbox};

use crate::webhooks::Webhooks;

/// The parts of the daemon that builtins use.
#[derive(Debug)]
pub(crate) struct DaemonState {
    pub(crate) engine: Engine,
    pub(crate) gate: Gate,
    pub(crate) api: Arc<Api>,
    /// Set before the gate opens.
    pub(crate) sandbox: OnceLock<Sandbox>,
    pub(crate) listening: listener::Options,
    /// The TLS of TCP listeners, if there is any.
    pub(crate) tls: Option<Arc<tls::Server>>,
    /// The sockets that were passed to the daemon.
    pub(crate) inherited: InheritedSockets,
    /// The number of connections that waited when the gate opened, if the kernel reports it.
    pub(crate) held_at_opening: OnceLock<Option<usize>>,
    /// The confinement of compilers. Set before the gate opens.
    pub(crate) confined_compiler: OnceLock<ConfinementReport>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) info: DaemonInfo,
}

/// The values that `info` prints and that do not change.
#[derive(Clone, Debug)]
pub(crate) struct DaemonInfo {
    /// The data directory.
    pub(crate) data: String,
    /// The limit on concurrent runs.
    pub(crate) runs: usize,
    /// The limit on concurrent runs that this machine allows.
    pub(crate) runs_ceiling: usize,
    /// The stack of a guest, in bytes.
    pub(crate) stack: usize,
    pub(crate) compile: CompileLimits,
    /// The limit on the size of a pushed program, in bytes.
    pub(crate) upload: u64,
    /// The requested confinement.
    pub(crate) confine: Mode,
    /// The actual confinement of the daemon.
    pub(crate) confined: ConfinementReport,
    pub(crate) started: jiff::Timestamp,
    /// Returns the number of log lines that were dropped because the reader was too slow.
    pub(crate) log_lines_dropped: fn() -> u64,
}
