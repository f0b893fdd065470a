//! `Engine`: the registry of handlers and the life of the daemon.
//!
//! It finds what a name resolves to, starts jobs behind a fence, and bounds each by its deadline. Its end is in [`shutdown`].
//!
//! # Nothing is published before it is recorded
//!
//! Whoever sees that a job has ended, in whatever way, may act on it at once: start the next job, read the metrics, remove the record.
//! So the end of every job takes these steps, in this order:
//!
//! 1. **Release.** The handler's future is dropped, and with it the streams, files, sockets and memory of the run. Children have ended. The
//!    slot, the place in the queue, the places of the concurrency limits and the guards of [`Job::hold_until_end`] are free, and the job is
//!    no longer among those that run ([`Engine::counts`], [`Engine::jobs`]).
//! 2. **Count.** The metrics of runs and the totals of the handler include it, and the job log has its line.
//! 3. **Publish.** The event, the record ([`Records::end`]) and the state ([`Job::wait`], [`Job::state`]) change as one step, under the lock of
//!    the events: a client that reads one of the three finds the other two. Responses, trailers, frames and `attach` wait for the state.
//! 4. **Leave.** The job leaves the fence: [`Engine::idle`] and [`Engine::drained`] return after the last event.
//!
//! Steps 1 and 2 are in `Engine::carry_out` and `Engine::conclude`, step 3 is in `Engine::publish_end`. A job that is refused because the
//! engine shuts down was never let in; it has a line in the job log before its state is published, and nothing else. The start of a job
//! follows the same rule: it is logged and counted, and then event and state change as one step.

mod admission;
mod concurrency;
mod in_flight;
mod job_log;
mod registry;
mod shutdown;
mod totals;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};

use arc_swap::ArcSwap;
use capstan_core::outcome::Outcome;
use capstan_core::policy::Ceiling;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::{Admission, Ticket};
use self::in_flight::{InFlight, InFlightGuard};
use self::registry::Registry;
pub use self::registry::{MAX_NAME, Name, Precondition, Put, RegistryError, ResolvedHandler, Source};
use self::shutdown::Shutdown;
pub use self::shutdown::{ShutdownBegun, ShutdownReport, Unfinished};
pub use self::totals::{Totals, TotalsReport};
use crate::events::{self, EventKind, Events};
use crate::handler::{Call, Handler, Role};
use crate::history::{Bounds, History, HistoryStore};
use crate::job::{End, Job, JobBuilder, StartError};
use crate::metrics::Runs;

/// Jobs that may wait for a slot, by default.
pub const DEFAULT_QUEUE: usize = 1000;

/// A handle to the engine; clones are the same engine.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What no run may use and touch more of.
    pub ceiling: Ceiling,
    /// How many runs may go on at a time.
    pub runs: usize,
    /// How many jobs may wait for one of those to end.
    pub queue: usize,
}

/// Numbers of an engine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that are work and go on now, those that wait for a slot among them.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub queued: usize,
    /// Slots that are free.
    pub free: usize,
    /// Jobs that were work and were started.
    pub started: u64,
    /// Handlers registered.
    pub handlers: usize,
}

#[derive(Debug)]
struct Inner {
    ceiling: ArcSwap<Ceiling>,
    /// Ports that its daemon listens on.
    own_ports: OnceLock<Vec<u16>>,
    runs: Runs,
    registry: Registry,
    fence: Arc<InFlight>,
    admission: Admission,
    events: Events,
    records: Arc<dyn HistoryStore>,
    /// Cancelled once new jobs are refused.
    stopping: CancellationToken,
    started: AtomicU64,
    tasks: TaskTracker,
    /// What is seen through to its end.
    changes: TaskTracker,
    shutdown: Shutdown,
}

impl Engine {
    /// An engine without handlers, which remembers its jobs in memory.
    pub fn new(config: Config) -> Self {
        Self::with_records(config, Arc::new(History::new(Bounds::default())))
    }

    /// An engine without handlers, which remembers its jobs in `records`.
    pub fn with_records(config: Config, records: Arc<dyn HistoryStore>) -> Self {
        Self::with(config, records, Events::new(events::DEFAULT_CAPACITY))
    }

    /// An engine without handlers, which remembers its jobs in `records` and tells what happens in `events`.
    pub fn with(config: Config, records: Arc<dyn HistoryStore>, events: Events) -> Self {
        Self(Arc::new(Inner {
            ceiling: ArcSwap::from_pointee(config.ceiling),
            own_ports: OnceLock::new(),
            runs: Runs::new(),
            registry: Registry::default(),
            fence: Arc::default(),
            admission: Admission::new(config.runs, config.queue),
            events,
            records,
            stopping: CancellationToken::new(),
            started: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            changes: TaskTracker::new(),
            shutdown: Shutdown::default(),
        }))
    }

    /// Registers `handler` under a name that is free; the first registered stays.
    ///
    /// # Errors
    /// [`RegistryError::BadName`], [`RegistryError::Duplicate`].
    pub fn register(&self, name: &str, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        self.0.registry.install(vec![(Name::new(name)?, handler)], Source::Pushed)
    }

    /// Registers all of `bundle` as handlers that cannot be replaced or removed, or none of it. A part of the daemon brings its own as
    /// such a bundle; those of several parts are put together, and then stand or fall together.
    ///
    /// # Errors
    /// As [`Engine::register`].
    pub fn install(&self, bundle: Vec<(&str, Arc<dyn Handler>)>) -> Result<(), RegistryError> {
        let named = bundle.into_iter().map(|(name, handler)| Ok((Name::new(name)?, handler)));
        self.0.registry.install(named.collect::<Result<_, _>>()?, Source::Builtin)
    }

    /// Registers what answers to every valid name that nobody has. Whatever is registered under a name, before or after, goes before
    /// it there. Lists are of names, and do not have it.
    ///
    /// # Errors
    /// [`RegistryError::DuplicateCatchAll`]: the first registered stays.
    pub fn register_catch_all(&self, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        self.0.registry.install_catch_all(handler)
    }

    /// Puts `handler`, made at `created`, under `name`, in the place of what is there; running jobs finish on the old one.
    ///
    /// # Errors
    /// [`RegistryError::Builtin`], [`RegistryError::Precondition`].
    pub fn put(
        &self,
        name: Name,
        handler: Arc<dyn Handler>,
        created: Timestamp,
        only_if: &Precondition,
    ) -> Result<Put, RegistryError> {
        let put = self.0.registry.put(name, handler, created, only_if)?;
        let handler = put.resolved.name().to_string();
        let digest = put.resolved.handler().info().digest;
        self.0.events.publish(EventKind::HandlerPut { handler, digest, replaced: put.replaced });
        Ok(put)
    }

    /// Whether [`Engine::put`] would be refused now: for telling so before a program is sent and compiled.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn check_put(&self, name: &Name, only_if: &Precondition) -> Result<(), RegistryError> {
        self.0.registry.check_put(name, only_if)
    }

    /// Puts handlers back under the names and times they had.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`], and then nothing is changed.
    pub fn restore(&self, handlers: Vec<(Name, Arc<dyn Handler>, Timestamp)>) -> Result<(), RegistryError> {
        self.0.registry.restore(handlers)
    }

    /// Runs `work` to its end even where the caller gives up; shutdown waits for it.
    ///
    /// # Panics
    /// Where `work` does.
    pub async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.0.changes.spawn(work).await.expect("nobody aborts the engine's tasks")
    }

    /// Takes `name` out; running jobs finish.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Builtin`], [`RegistryError::Precondition`].
    pub fn remove(&self, name: &str, only_if: &Precondition) -> Result<Arc<ResolvedHandler>, RegistryError> {
        let removed = self.0.registry.remove(name, only_if)?;
        self.0.events.publish(EventKind::HandlerRemove { handler: removed.name().to_string() });
        Ok(removed)
    }

    /// What `name` resolves to now. Never waits for a load.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn resolve(&self, name: &str) -> Result<Arc<ResolvedHandler>, RegistryError> {
        self.0.registry.get(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))
    }

    /// All handlers, by name.
    pub fn handlers(&self) -> Vec<Arc<ResolvedHandler>> {
        self.0.registry.list()
    }

    /// Begins the description of a job for the handler that `name` resolves to now.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn job(&self, name: &str) -> Result<JobBuilder, RegistryError> {
        Ok(JobBuilder::new(self.clone(), self.resolve(name)?))
    }

    /// What happens in it.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Its jobs, those that have ended among them.
    pub fn records(&self) -> &Arc<dyn HistoryStore> {
        &self.0.records
    }

    /// The jobs that go on, services among them; none whose end anybody has seen.
    pub fn jobs(&self) -> Vec<Job> {
        self.0.fence.work().into_iter().chain(self.0.fence.services()).collect()
    }

    /// What no run may use and touch more of.
    pub fn ceiling(&self) -> Arc<Ceiling> {
        self.0.ceiling.load_full()
    }

    /// Puts another ceiling in the place of what it has. Jobs that were made before keep the policy they have.
    pub fn set_ceiling(&self, ceiling: Ceiling) {
        self.0.ceiling.store(Arc::new(ceiling));
    }

    /// Says on which ports its daemon listens over TCP: jobs do not reach those unless the operator says so. The first word stands.
    pub fn set_own_ports(&self, ports: Vec<u16>) {
        let _ = self.0.own_ports.set(ports);
    }

    /// The ports that its daemon listens on over TCP.
    pub(crate) fn own_ports(&self) -> &[u16] {
        self.0.own_ports.get().map_or(&[], Vec::as_slice)
    }

    /// Numbers of its life so far.
    pub fn counts(&self) -> Counts {
        Counts {
            running: self.0.fence.going(),
            queued: self.0.admission.queued(),
            free: self.0.admission.free(),
            started: self.0.started.load(Ordering::Relaxed),
            handlers: self.0.registry.count(),
        }
    }

    /// How its runs ended, and how long they took.
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Whether it refuses jobs because it stops.
    pub fn is_shutting_down(&self) -> bool {
        self.0.fence.is_closed()
    }

    /// Waits until it stops and no work is in flight: nothing of note happens any more. Cancel-safe.
    pub async fn drained(&self) {
        self.0.stopping.cancelled().await;
        self.idle().await;
    }

    /// Waits until no work is in flight. Cancel-safe.
    pub async fn idle(&self) {
        self.0.fence.idle().await;
    }

    pub(crate) fn start(&self, job: &Job) -> Result<(), StartError> {
        let role = job.resolved().handler().role();
        let begun = job.begin(|| {
            let pass = self.0.fence.enter(job, role).ok_or(StartError::ShuttingDown)?;
            let ticket = self.0.admission.ticket(job)?;
            if is_recorded(job) {
                self.0.records.begin(job)?;
            }
            Ok((pass, ticket))
        });
        if let Err(error @ StartError::ShuttingDown) = &begun {
            let end = job.sum_up(Outcome::Refused { why: error.to_string() });
            job_log::ended(job, &end);
            job.set_done(end);
        }
        let (call, (pass, ticket)) = begun?;
        let (engine, job) = (self.clone(), job.clone());
        let mut going = Box::pin(async move { engine.carry_out(&job, call, pass, ticket).await });
        // A run that is short enough has ended by now, and costs no task; see `sandbox::guests`.
        if going.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.0.tasks.spawn(going);
        }
        Ok(())
    }

    /// Takes a job that was let in to its end.
    async fn carry_out(&self, job: &Job, call: Call, mut pass: InFlightGuard, ticket: Ticket) {
        if matches!(ticket, Ticket::Place(_)) {
            self.0.events.publish(EventKind::JobQueue { job: job.id(), handler: job.name().to_owned() });
        }
        let ticket = match ticket {
            Ticket::Place(place) => tokio::select! {
                biased;
                outcome = call.stop.requested() => {
                    // `select!` has dropped the place in the queue.
                    drop(call);
                    pass.ended();
                    self.publish_end(job, job.sum_up(outcome));
                    return;
                }
                slot = self.0.admission.turn(job, place) => slot,
            },
            ticket => ticket,
        };
        job_log::started(job);
        if is_work(job) {
            self.0.started.fetch_add(1, Ordering::Relaxed);
            let (handler, parent) = (job.name().to_owned(), job.parent());
            self.0.events.publish_with(EventKind::JobStart { job: job.id(), handler, parent }, || job.set_running());
        } else {
            job.set_running();
        }
        let outcome = run(job, call).await;
        if job.kin().has_children() {
            // What it started ends with it.
            job.stop().end_children();
            if is_work(job) {
                job.kin().take_back().await;
            }
        }
        drop(ticket);
        pass.ended();
        self.conclude(job, outcome);
        drop(pass);
    }

    /// Counts a job whose run is over and that holds nothing any more, and then publishes its end.
    fn conclude(&self, job: &Job, outcome: Outcome) {
        let end = job.sum_up(outcome);
        if is_work(job) {
            self.0.runs.ended(&end);
            job.resolved().totals().add(&end);
        }
        self.publish_end(job, end);
    }

    /// Shows the end of a job, which has been counted, to those who remember, watch and wait: to all of them at once.
    fn publish_end(&self, job: &Job, end: End) {
        job_log::ended(job, &end);
        let event = is_work(job).then(|| EventKind::JobEnd {
            job: job.id(),
            handler: job.name().to_owned(),
            outcome: end.outcome.kind().to_owned(),
            exit_code: end.outcome.exit_code(),
        });
        let publish = || {
            if is_recorded(job) {
                self.0.records.end(job, &end);
            }
            job.set_done(end);
        };
        match event {
            Some(event) => _ = self.0.events.publish_with(event, publish),
            None => publish(),
        }
    }
}

fn is_work(job: &Job) -> bool {
    job.resolved().handler().role() == Role::Work
}

/// Whether a job is remembered: one that is work, and one that somebody will ask for later.
fn is_recorded(job: &Job) -> bool {
    is_work(job) || job.log().is_some()
}

/// Runs `call` to its end. The deadline is kept here, on the control side, where no guest can starve the timer.
async fn run(job: &Job, call: Call) -> Outcome {
    let handler = job.resolved().handler().clone();
    let (stop, timeout) = (job.stop(), call.limits.timeout);
    let bounded = handler.role() != Role::Service;
    let mut work = std::pin::pin!(AssertUnwindSafe(async { handler.run(call).await }).catch_unwind());
    let finished = tokio::select! {
        biased;
        finished = &mut work => finished,
        () = tokio::time::sleep(timeout), if bounded => {
            stop.request(Outcome::timed_out(timeout));
            work.await
        }
    };
    finished.unwrap_or_else(|_| Outcome::HostError { message: "the handler panicked".to_owned() })
}

#[cfg(test)]
mod tests;
