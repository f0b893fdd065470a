//! [`Api`]: what API functions share, and [`Settings`]: what the operator sets.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capstan_engine::engine::Engine;
use capstan_engine::handler_store::HandlerStore;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Gate, StartupPolicy};
use capstan_listen::listener::Backlog;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::allowed_hosts::Callers;
use crate::bounds::Bounds;
use crate::debug::{self, ProcessNumbers};
use crate::{error, jobs, metrics, router, startup_queue};

/// Uploads that are held in memory at a time; more wait before they are read.
const UPLOADS: usize = 16;
/// Programs that are held in memory at a time for those who fetch them.
const FETCHES: usize = 16;
/// How long a request waits for one of those places.
const PATIENCE: Duration = Duration::from_secs(30);

/// What API functions share.
#[derive(Debug)]
pub struct Api {
    pub(crate) engine: Engine,
    pub(crate) gate: Gate,
    /// Set before the gate opens.
    pub(crate) handlers: OnceLock<Arc<dyn HandlerStore>>,
    pub(crate) settings: Settings,
    /// There in debug mode only.
    pub(crate) debug: Option<debug::Debug>,
    pub(crate) requests: metrics::Requests,
    /// Where requests wait that came before the gate was open.
    pub(crate) porch: startup_queue::Porch,
    /// Where the kernel holds connections; set when the API is served.
    pub(crate) backlogs: OnceLock<Vec<Backlog>>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) fetches: Arc<Semaphore>,
    /// Room for input that came with jobs, in blocks.
    pub(crate) input: Arc<Semaphore>,
    /// Places for jobs that are to be cancelled after a time of grace.
    pub(crate) graces: Arc<Semaphore>,
    pub(crate) cursors: jobs::Cursors,
    /// What goes on beside connections: pumps of runs, streams of HTTP/2.
    pub(crate) tasks: Tasks,
}

/// What the API is told by the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes of a program with its manifest. Default 64 MiB.
    pub upload: u64,
    /// Where output that nobody reads yet may spill to, in files without a name.
    pub spill: PathBuf,
    /// What is told of the process; there in debug mode only.
    pub debug: Option<ProcessNumbers>,
    /// Where is noted what goes on.
    pub tasks: Tasks,
    /// What becomes of connections while the gate is shut. Default: the kernel holds them.
    pub policy: StartupPolicy,
    /// What clients may take of the HTTP layer.
    pub http: Bounds,
    /// Who may call over TCP besides the daemon's own names.
    pub callers: Arc<Callers>,
}

impl Api {
    /// An API of `engine`, served once `gate` opens.
    pub fn new(engine: Engine, gate: Gate, settings: Settings) -> Self {
        Self {
            engine,
            porch: startup_queue::Porch::new(gate.clone()),
            backlogs: OnceLock::new(),
            gate,
            handlers: OnceLock::new(),
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

    /// Sets where handlers are pushed to. Called once, before the gate opens.
    pub fn set_handler_store(&self, handlers: Arc<dyn HandlerStore>) {
        let _ = self.handlers.set(handlers);
    }

    pub(crate) fn set_backlogs(&self, backlogs: Vec<Backlog>) {
        // An API is served once.
        let _ = self.backlogs.set(backlogs);
    }

    /// Connections that wait: those that the kernel holds and the requests that are held here. `None` where the kernel does not tell.
    pub fn held(&self) -> Option<usize> {
        let backlogs = self.backlogs.get().map(Vec::as_slice).unwrap_or_default();
        backlogs.iter().try_fold(self.porch.held(), |held, backlog| Some(held + backlog.waiting()?))
    }

    /// The requests that were answered.
    pub fn requests(&self) -> &metrics::Counts {
        self.requests.counts()
    }

    /// A place among the few whose bodies are held in memory.
    ///
    /// # Errors
    /// [`error::Error`], 429, where none is let go of in time.
    pub(crate) async fn one_of_few(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, error::Error> {
        let place = tokio::time::timeout(PATIENCE, places.clone().acquire_owned()).await;
        let place = place.map_err(|_| error::Error::busy("too many large bodies are on their way"))?;
        Ok(place.expect("the semaphore is never closed"))
    }

    /// Where handlers are pushed to.
    ///
    /// # Errors
    /// [`error::Error`], 503 `starting`, until it is set.
    pub(crate) fn handler_store(&self) -> Result<&dyn HandlerStore, error::Error> {
        let store = self.handlers.get().map(AsRef::as_ref);
        store.ok_or_else(|| error::Error::starting("the sandbox is not ready"))
    }
}
