//! `Api`: the API of one engine, from its creation until it is served.

use std::sync::{Arc, OnceLock};

use capstan_engine::engine::Engine;
use capstan_engine::handler_store::HandlerStore;
use capstan_engine::queue::Queue;
use capstan_engine::scheduler::Scheduler;
use capstan_listen::listenbuffer::Gate;
use capstan_listen::listener::Backlog;

use super::request_counts::{Counts, RequestCounts};
use super::router;
use super::startup_queue::StartupQueue;
use super::state::{ApiState, Settings};

/// The API of an engine. [`serve`](super::serve) serves it.
#[derive(Debug)]
pub struct Api {
    pub(crate) state: Arc<ApiState>,
    pub(crate) request_counts: RequestCounts,
    pub(crate) startup_queue: StartupQueue,
    /// The kernel's queues of connections; set when the API is served.
    backlogs: OnceLock<Vec<Backlog>>,
}

impl Api {
    /// Creates the API of `engine`, which is served once `gate` opens.
    pub fn new(engine: Engine, gate: Gate, settings: Settings) -> Self {
        Self {
            startup_queue: StartupQueue::new(gate.clone()),
            request_counts: router::request_counts(),
            backlogs: OnceLock::new(),
            state: Arc::new(ApiState::new(engine, gate, settings)),
        }
    }

    /// Sets the store that handlers are pushed to. Call this once, before the gate opens.
    pub fn set_handler_store(&self, store: Arc<dyn HandlerStore>) {
        self.state.set_handler_store(store);
    }

    /// Sets the queue of durable jobs, and the key of the cursors in its lists. Call this once, before the gate opens.
    pub fn set_queue(&self, queue: Queue, cursor_key: &[u8; 32]) {
        self.state.set_queue(queue, cursor_key);
    }

    /// Sets the scheduler. Call this once, before the gate opens.
    pub fn set_scheduler(&self, scheduler: Arc<Scheduler>) {
        self.state.set_scheduler(scheduler);
    }

    pub(crate) fn set_backlogs(&self, backlogs: Vec<Backlog>) {
        // An API is served once.
        let _ = self.backlogs.set(backlogs);
    }

    /// Returns how many connections wait to be served: those in the kernel's backlogs and the requests in the startup queue.
    ///
    /// `None` where the kernel does not report its backlogs.
    pub fn waiting(&self) -> Option<usize> {
        let backlogs = self.backlogs.get().map(Vec::as_slice).unwrap_or_default();
        backlogs.iter().try_fold(self.startup_queue.len(), |sum, backlog| Some(sum + backlog.waiting()?))
    }

    /// Returns the counters of answered requests.
    pub fn request_counts(&self) -> &Counts {
        self.request_counts.counters()
    }
}
