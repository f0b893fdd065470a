//! The API: HTTP on one side, the engine on the other. It translates, and decides nothing.
//!
//! The way of a request: [`server`] accepts its connection, [`connection`] speaks HTTP on it, [`router`] finds the API function, and
//! that is in [`system`], [`handlers`], [`run`], [`jobs`] or [`events`]. What goes wrong becomes an answer in [`error`].

mod body;
mod bounds;
mod caller;
mod connection;
mod cors;
mod debug;
mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod handlers;
mod held;
mod input;
mod jobs;
mod key;
mod live;
mod metrics;
mod pace;
mod peers;
mod policy;
mod query;
mod reading;
mod request;
mod router;
mod run;
mod secure;
mod server;
mod system;
mod upgrade;
mod upload;
mod websocket;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::bounds::Bounds;
pub(crate) use self::caller::{Callers, CallersError};
pub(crate) use self::debug::ProcessNumbers;
pub(crate) use self::router::{MAX_VERSION, MIN_VERSION};
pub(crate) use self::server::serve;
use crate::engine::Engine;
use crate::kept::Kept;
use crate::listenbuffer::{Gate, Policy};
use crate::listener::Backlog;
use crate::sandbox::Sandbox;
use crate::tasks::Tasks;

/// Uploads that are held in memory at a time; more wait before they are read.
const UPLOADS: usize = 16;
/// Programs that are held in memory at a time for those who fetch them.
const FETCHES: usize = 16;
/// How long a request waits for one of those places.
const PATIENCE: Duration = Duration::from_secs(30);

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
    uploads: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    /// Room for input that came with jobs, in blocks.
    input: Arc<Semaphore>,
    /// Places for jobs that are to be cancelled after a time of grace.
    graces: Arc<Semaphore>,
    cursors: jobs::Cursors,
    /// What goes on beside connections: pumps of runs, streams of HTTP/2.
    tasks: Tasks,
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
    /// Where is noted what goes on.
    pub(crate) tasks: Tasks,
    /// What becomes of connections while the gate is shut. Default: the kernel holds them.
    pub(crate) policy: Policy,
    /// What clients may take of the HTTP layer.
    pub(crate) http: Bounds,
    /// Who may call over TCP besides the daemon's own names.
    pub(crate) callers: Arc<Callers>,
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
            requests: router::requests(),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            fetches: Arc::new(Semaphore::new(FETCHES)),
            input: Arc::new(Semaphore::new(jobs::INPUT_BLOCKS)),
            graces: Arc::new(Semaphore::new(jobs::GRACES)),
            cursors: jobs::Cursors::new(),
            tasks: settings.tasks.clone(),
            settings,
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

    /// A place among the few whose bodies are held in memory.
    ///
    /// # Errors
    /// [`error::Error`], 429, where none is let go of in time.
    async fn one_of_few(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, error::Error> {
        let place = tokio::time::timeout(PATIENCE, places.clone().acquire_owned()).await;
        let place = place.map_err(|_| error::Error::busy("too many large bodies are on their way"))?;
        Ok(place.expect("the semaphore is never closed"))
    }

    /// What handlers are pushed to.
    fn kept(&self) -> Result<&Kept, error::Error> {
        self.kept.get().ok_or_else(|| error::Error::starting("the sandbox is not ready"))
    }
}

#[cfg(test)]
mod tests;
