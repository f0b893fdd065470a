//! The API: HTTP on one side, the engine on the other. It translates, and decides nothing.
//!
//! The way of a request: [`server`] accepts its connection, [`connection`] speaks HTTP on it, [`router`] finds the API function, and
//! that is in [`system`], [`handlers`], [`run`], [`jobs`] or [`events`]. What goes wrong becomes an answer in [`error`].

mod body;
mod caller;
mod connection;
mod debug;
mod error;
mod events;
mod handlers;
mod held;
mod input;
mod jobs;
mod key;
mod live;
mod metrics;
mod query;
mod request;
mod router;
mod run;
mod secure;
mod server;
mod system;
mod upgrade;
mod upload;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use self::debug::ProcessNumbers;
pub(crate) use self::router::{MAX_VERSION, MIN_VERSION};
pub(crate) use self::server::serve;
use crate::engine::Engine;
use crate::kept::Kept;
use crate::listenbuffer::{Gate, Policy};
use crate::listener::Backlog;
use crate::sandbox::Sandbox;

/// Uploads that are held in memory at a time; more wait before they are read.
const UPLOADS: usize = 16;

/// What API functions share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    gate: Gate,
    /// Set before the gate opens.
    kept: OnceLock<Kept>,
    settings: Settings,
    /// There in debug mode only.
    debug: Option<debug::Debug>,
    requests: metrics::Requests,
    /// Where requests wait that came before the gate was open.
    porch: held::Porch,
    /// Where the kernel holds connections; set when the API is served.
    backlogs: OnceLock<Vec<Backlog>>,
    uploads: Semaphore,
    /// Room for input that came with jobs, in blocks.
    input: Arc<Semaphore>,
    /// Places for jobs that are to be cancelled after a time of grace.
    graces: Arc<Semaphore>,
    cursors: jobs::Cursors,
    /// What goes on beside connections: pumps of runs, streams of HTTP/2.
    tasks: TaskTracker,
}

/// What the API is told by the operator.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The most bytes of a program with its manifest. Default 64 MiB.
    pub(crate) upload: u64,
    /// Where output that nobody reads yet may spill to, in files without a name.
    pub(crate) spill: PathBuf,
    /// What is told of the process; there in debug mode only.
    pub(crate) debug: Option<ProcessNumbers>,
    /// What becomes of connections while the gate is shut. Default: the kernel holds them.
    pub(crate) policy: Policy,
}

impl Api {
    /// An API of `engine`, served once `gate` opens.
    pub(crate) fn new(engine: Engine, gate: Gate, settings: Settings) -> Self {
        Self {
            engine,
            porch: held::Porch::new(gate.clone()),
            backlogs: OnceLock::new(),
            gate,
            kept: OnceLock::new(),
            debug: settings.debug.map(debug::Debug::new),
            settings,
            requests: router::requests(),
            uploads: Semaphore::new(UPLOADS),
            input: Arc::new(Semaphore::new(jobs::INPUT_BLOCKS)),
            graces: Arc::new(Semaphore::new(jobs::GRACES)),
            cursors: jobs::Cursors::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Hands over what handlers are pushed to; the first is kept.
    pub(crate) fn set_kept(&self, kept: Kept) {
        // It is set once, by the boot.
        let _ = self.kept.set(kept);
    }

    fn set_backlogs(&self, backlogs: Vec<Backlog>) {
        // An API is served once.
        let _ = self.backlogs.set(backlogs);
    }

    /// Connections that wait: those that the kernel holds and the requests that are held here. `None` where the kernel does not tell.
    pub(crate) fn held(&self) -> Option<usize> {
        let backlogs = self.backlogs.get().map(Vec::as_slice).unwrap_or_default();
        backlogs.iter().try_fold(self.porch.held(), |held, backlog| Some(held + backlog.waiting()?))
    }

    /// The requests that were answered.
    pub(crate) fn requests(&self) -> &metrics::Counts {
        self.requests.counts()
    }

    /// The sandbox, once there is one.
    pub(crate) fn sandbox(&self) -> Option<&Sandbox> {
        self.kept.get().map(Kept::sandbox)
    }

    /// What handlers are pushed to.
    fn kept(&self) -> Result<&Kept, error::Error> {
        self.kept.get().ok_or_else(|| error::Error::starting("the sandbox is not ready"))
    }
}

#[cfg(test)]
mod tests;
