//! `ApiState`: what API functions share. `Settings`: what the operator configures.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use capstan_engine::engine::Engine;
use capstan_engine::handler_store::HandlerStore;
use capstan_engine::queue::Queue;
use capstan_engine::scheduler::Scheduler;
use capstan_engine::tasks::Tasks;
use capstan_listen::listenbuffer::{Gate, StartupPolicy};

use super::access_log::AccessLog;
use super::allowed_hosts::AllowedHosts;
use super::debug::mode::{DebugMode, ProcessNumbers};
use super::error::Error;
use super::http_limits::HttpLimits;
use super::jobs::cursors::Cursors;
use super::slots::Slots;

/// The state that API functions share.
#[derive(Debug)]
pub(crate) struct ApiState {
    pub(crate) engine: Engine,
    pub(crate) gate: Gate,
    pub(crate) settings: Settings,
    /// `None` unless the daemon is in debug mode.
    pub(crate) debug: Option<DebugMode>,
    pub(crate) slots: Slots,
    /// Tasks that run beside connections: copies of the streams of runs, streams of HTTP/2.
    pub(crate) tasks: Tasks,
    /// Set before the gate opens.
    handler_store: OnceLock<Arc<dyn HandlerStore>>,
    /// Set before the gate opens.
    queue: OnceLock<(Queue, Cursors)>,
    /// Set before the gate opens.
    scheduler: OnceLock<Arc<Scheduler>>,
}

/// What the operator configures of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes of a program together with its manifest. Default 256 MiB.
    pub max_upload: u64,
    /// The most bytes of the archive with the files of a handler.
    pub max_files: u64,
    /// The folder of nameless files: output of runs which no client reads yet, and archives that are being received.
    pub spill_folder: PathBuf,
    /// Reads the kernel's numbers of the process. `None` unless the daemon is in debug mode.
    pub debug: Option<ProcessNumbers>,
    /// Registers the tasks of the API, for `/debug/tasks`.
    pub tasks: Tasks,
    /// What happens to connections while the gate is shut. By default the kernel holds them.
    pub policy: StartupPolicy,
    /// The limits of the HTTP layer for clients.
    pub http_limits: HttpLimits,
    /// The hosts and origins that TCP clients may name besides the daemon's own names.
    pub allowed_hosts: Arc<AllowedHosts>,
    /// The log of the requests that handlers answer. Default: none.
    pub access_log: Option<AccessLog>,
}

impl ApiState {
    pub(crate) fn new(engine: Engine, gate: Gate, settings: Settings) -> Self {
        Self {
            engine,
            gate,
            debug: settings.debug.map(DebugMode::new),
            slots: Slots::new(),
            tasks: settings.tasks.clone(),
            settings,
            handler_store: OnceLock::new(),
            queue: OnceLock::new(),
            scheduler: OnceLock::new(),
        }
    }

    /// Returns the state of debug mode.
    ///
    /// # Errors
    /// [`Error`], 404, where the daemon is not in debug mode.
    pub(crate) fn debug_mode(&self) -> Result<&DebugMode, Error> {
        self.debug.as_ref().ok_or_else(|| Error::not_found("the daemon is not in debug mode; start it with --debug"))
    }

    /// Sets the store that handlers are pushed to. Later calls have no effect.
    pub(crate) fn set_handler_store(&self, store: Arc<dyn HandlerStore>) {
        let _ = self.handler_store.set(store);
    }

    /// Sets the queue of durable jobs, and the key of the cursors in its lists. Later calls have no effect.
    pub(crate) fn set_queue(&self, queue: Queue, cursor_key: &[u8; 32]) {
        let _ = self.queue.set((queue, Cursors::new(cursor_key)));
    }

    /// Returns the queue of durable jobs.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`, until the queue is set.
    pub(crate) fn queue(&self) -> Result<&Queue, Error> {
        self.queue
            .get()
            .map(|(queue, _)| queue)
            .ok_or_else(|| Error::starting("the job store is not open yet; try again"))
    }

    /// Sets the scheduler. Later calls have no effect.
    pub(crate) fn set_scheduler(&self, scheduler: Arc<Scheduler>) {
        let _ = self.scheduler.set(scheduler);
    }

    /// Returns the scheduler.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`, until the scheduler is set.
    pub(crate) fn scheduler(&self) -> Result<&Scheduler, Error> {
        self.scheduler
            .get()
            .map(AsRef::as_ref)
            .ok_or_else(|| Error::starting("the job store is not open yet; try again"))
    }

    /// Returns what encodes cursors.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`, until the queue is set.
    pub(crate) fn cursors(&self) -> Result<&Cursors, Error> {
        self.queue
            .get()
            .map(|(_, cursors)| cursors)
            .ok_or_else(|| Error::starting("the job store is not open yet; try again"))
    }

    /// Returns the store that handlers are pushed to.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`, until the store is set.
    pub(crate) fn handler_store(&self) -> Result<&dyn HandlerStore, Error> {
        let store = self.handler_store.get().map(AsRef::as_ref);
        store.ok_or_else(|| Error::starting("the sandbox is not ready; try again"))
    }
}
