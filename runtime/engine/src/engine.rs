//! [`Engine`]: brings handlers and jobs together, from the start of the daemon to its shutdown.
//!
//! This file has the engine's data and what can be read of it. The calls that change it are in files of their own, as further `impl Engine`
//! blocks: `handlers` (register and resolve), `job_builder` (describe and build a job), `start` (start a job and take it to its end) and
//! `shutdown`. They use `admission` and `concurrency` (who may run), `in_flight` (what runs) and `job_log`.
//!
//! # Nothing is published before it is recorded
//!
//! A client that sees the end of a job, in whatever way, may act on it at once: start the next job, read the metrics, remove the record.
//! So the end of every job takes these steps, in this order:
//!
//! 1. **Release.** The handler's future is dropped, and with it the streams, files, sockets and memory of the run. Children have ended. The
//!    slot, the position in the queue, the permits of the concurrency limits and the guards of [`Job::hold_until_end`] are free, and the job
//!    is no longer among those that run ([`Engine::counts`], [`Engine::jobs`]).
//! 2. **Count.** The metrics of runs and the totals of the handler include it, and the job log has its line.
//! 3. **Publish.** The event, the record ([`HistoryStore::record_end`]) and the state ([`Job::wait`], [`Job::state`]) change as one step,
//!    under the lock of the events. A client that reads one of the three finds the other two. Responses, trailers, frames and `attach` wait
//!    for the state.
//! 4. **Leave.** The job is no longer in flight: [`Engine::wait_until_idle`] and [`Engine::wait_until_drained`] return after the last event.
//!
//! Steps 1 and 2 are in `take_to_end` and `count_and_publish_end`, step 3 is in `publish_end`, all in the file `start`. A job that is
//! rejected because the engine shuts down was never admitted. It has a line in the job log before its state is published, and nothing else.
//! The start of a job follows the same rule: it is logged and counted, and then event and state change as one step.

mod admission;
mod concurrency;
mod data;
mod handlers;
mod in_flight;
mod job_builder;
mod job_log;
mod shutdown;
mod shutdown_hooks;
mod start;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use capstan_core::policy::Ceiling;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Admission;
pub(crate) use self::admission::ReservedSlot;
use self::in_flight::InFlight;
pub use self::job_builder::{JobBuildError, JobBuilder};
use self::shutdown_hooks::ShutdownState;
pub use self::shutdown_hooks::{ShutdownReport, ShutdownStarted, Unfinished};
use crate::data::DataStore;
use crate::events::{self, Events};
use crate::handler::HandlerName;
use crate::history::{HistoryLimits, HistoryStore, MemoryHistory};
use crate::job::{Job, JobId};
use crate::job_store::JobIds;
use crate::metrics::RunMetrics;
use crate::registry::Registry;
use crate::run_recorder::RunRecorder;

/// The number of jobs that may wait for a slot, by default.
pub const DEFAULT_QUEUE: usize = 1000;

/// A handle to the engine. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The operator's ceiling, which no policy exceeds.
    pub ceiling: Ceiling,
    /// The number of slots: how many jobs run at a time at most.
    pub runs: usize,
    /// The number of jobs that may wait for a slot.
    pub queue: usize,
}

/// Numbers of an engine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Work jobs that have not ended, including those that wait for a slot.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub queued: usize,
    /// Free slots.
    pub free: usize,
    /// Work jobs that have started.
    pub started: u64,
    /// Registered handlers.
    pub handlers: usize,
}

#[derive(Debug)]
struct Inner {
    ceiling: ArcSwap<Ceiling>,
    /// The TCP ports that the daemon listens on.
    own_ports: OnceLock<Vec<u16>>,
    /// Keeps buckets and containers of handlers. Set once.
    data_store: OnceLock<Arc<dyn DataStore>>,
    run_metrics: RunMetrics,
    registry: Registry,
    in_flight: Arc<InFlight>,
    admission: Admission,
    events: Events,
    history: Arc<dyn HistoryStore>,
    /// Records synchronous runs durably. Set once.
    run_recorder: OnceLock<RunRecorder>,
    job_ids: JobIds,
    /// Cancelled once new jobs are rejected.
    stopping: CancellationToken,
    started: AtomicU64,
    tasks: TaskTracker,
    /// Changes that shutdown waits for; see [`Engine::run_to_completion`].
    changes: TaskTracker,
    shutdown: ShutdownState,
}

impl Engine {
    /// Returns an engine without handlers and with a history in memory.
    pub fn new(config: Config) -> Self {
        Self::with_history(config, Arc::new(MemoryHistory::new(HistoryLimits::default())))
    }

    /// Returns an engine without handlers that records its jobs in `history`.
    pub fn with_history(config: Config, history: Arc<dyn HistoryStore>) -> Self {
        Self::with(config, history, Events::new(events::DEFAULT_CAPACITY))
    }

    /// Returns an engine without handlers that records its jobs in `history` and publishes what happens in `events`.
    pub fn with(config: Config, history: Arc<dyn HistoryStore>, events: Events) -> Self {
        Self(Arc::new(Inner {
            ceiling: ArcSwap::from_pointee(config.ceiling),
            own_ports: OnceLock::new(),
            data_store: OnceLock::new(),
            run_metrics: RunMetrics::default(),
            registry: Registry::default(),
            in_flight: Arc::default(),
            admission: Admission::new(config.runs, config.queue),
            events,
            history,
            run_recorder: OnceLock::new(),
            job_ids: JobIds::default(),
            stopping: CancellationToken::new(),
            started: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            changes: TaskTracker::new(),
            shutdown: ShutdownState::default(),
        }))
    }

    /// Returns the publisher of its events.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Returns the history of its jobs.
    pub fn history(&self) -> &Arc<dyn HistoryStore> {
        &self.0.history
    }

    /// Returns the metrics of its runs.
    pub fn run_metrics(&self) -> &RunMetrics {
        &self.0.run_metrics
    }

    /// Returns the jobs in flight, including services, but none whose end anybody has seen.
    pub fn jobs(&self) -> Vec<Job> {
        self.0.in_flight.work().into_iter().chain(self.0.in_flight.services()).collect()
    }

    /// Returns the current numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            running: self.0.in_flight.running(),
            queued: self.0.admission.queued(),
            free: self.0.admission.free_slots(),
            started: self.0.started.load(Ordering::Relaxed),
            handlers: self.0.registry.count(),
        }
    }

    /// Returns the operator's ceiling, which no policy exceeds.
    pub fn ceiling(&self) -> Arc<Ceiling> {
        self.0.ceiling.load_full()
    }

    /// Replaces the ceiling. Jobs that are already built keep their policy.
    pub fn set_ceiling(&self, ceiling: Ceiling) {
        self.0.ceiling.store(Arc::new(ceiling));
    }

    /// Sets the TCP ports that the daemon listens on. Jobs do not reach them unless the operator grants them by name. Only the first call
    /// has an effect.
    pub fn set_own_ports(&self, ports: Vec<u16>) {
        let _ = self.0.own_ports.set(ports);
    }

    /// Returns the TCP ports that the daemon listens on.
    fn own_ports(&self) -> &[u16] {
        self.0.own_ports.get().map_or(&[], Vec::as_slice)
    }

    /// Returns whether new jobs are rejected because the engine shuts down.
    pub fn is_shutting_down(&self) -> bool {
        self.0.in_flight.is_closed()
    }

    /// Waits until no work is in flight. Cancel-safe.
    pub async fn wait_until_idle(&self) {
        self.0.in_flight.wait_until_idle().await;
    }

    /// Waits until the engine shuts down and no work is in flight. No job event follows. Cancel-safe.
    pub async fn wait_until_drained(&self) {
        self.0.stopping.cancelled().await;
        self.wait_until_idle().await;
    }

    /// Sets what records synchronous runs durably. Only the first call has an effect.
    pub(crate) fn set_run_recorder(&self, recorder: RunRecorder) {
        let _ = self.0.run_recorder.set(recorder);
    }

    /// Returns an id that sorts after those of earlier jobs, as durable records need it.
    pub(crate) fn sortable_id(&self) -> JobId {
        self.0.job_ids.create(Timestamp::now())
    }

    /// Returns what is cancelled once new jobs are rejected.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Waits for a slot. Cancel-safe.
    pub(crate) async fn reserve_slot(&self) -> ReservedSlot {
        self.0.admission.reserve().await
    }

    /// Returns how many durable jobs of `handler`, or of it and `key`, may be claimed if so many may run.
    pub(crate) fn concurrency_room(&self, handler: &HandlerName, key: Option<&str>, limit: NonZeroUsize) -> usize {
        self.0.admission.concurrency().room(handler, key, limit)
    }

    /// Waits until a concurrency limit may allow another job. One caller waits at a time. Cancel-safe.
    pub(crate) async fn concurrency_released(&self) {
        self.0.admission.concurrency().released().await;
    }

    /// Spawns a task of the engine on the caller's runtime.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    /// Spawns a task that shutdown waits for, on the caller's runtime.
    pub(crate) fn spawn_change(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.changes.spawn(task);
    }

    /// Spawns a task of the engine on `runtime`.
    pub(crate) fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn_on(task, runtime);
    }

    /// Runs `change` to its end even if the caller drops this future. Shutdown waits for it.
    ///
    /// # Panics
    /// Panics if `change` does.
    pub async fn run_to_completion<T: Send + 'static>(&self, change: impl Future<Output = T> + Send + 'static) -> T {
        self.0.changes.spawn(change).await.expect("the engine's tasks are never aborted")
    }
}

#[cfg(test)]
mod tests;
