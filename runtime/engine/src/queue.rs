//! [`Queue`]: durable jobs, from their submission to the end that the store records.
//!
//! ```text
//! submit ─▶ JobStore ─▶ worker: claims for free slots ─▶ attempt: a job of the engine ─▶ JobStore: output, end ─▶ event
//!                         ▲ new jobs, due jobs, room                                        │
//!                         └──────────────── retries ◀───────────────────────────────────────┘
//! ```
//!
//! The store keeps what is submitted, decides what is claimed next, and records each end once. This module runs what the store gives it:
//!
//! - `worker` waits for a free slot and claims a job for it;
//! - `attempt` turns a claimed job into a job of the engine, and its end into a record;
//! - `inputs` reads what a job gets of the output of others;
//! - `output` sends what a run prints to the store;
//! - `capacity` tells the store which handlers and keys have room, `rate_limit` counts for it, `waiting` says why a job waits;
//! - `running` knows the attempts of this process, `stdin_in_memory` what they hold;
//! - `event_numbers` numbers events so that a restart repeats no number;
//! - `run_history` records synchronous runs whose handler asks for it;
//! - `housekeeping` keeps leases, and removes what retention does not keep.
//!
//! # Nothing is told before it is true
//!
//! The end of a durable job is on the disk before it is an event, before a waiting client learns of it, and before the engine stops counting
//! its run as in flight. A run that the daemon stopped because it shuts down does not count, and its job is queued again.

mod attempt;
mod capacity;
mod event_numbers;
mod housekeeping;
mod inputs;
mod output;
mod rate_limit;
mod run_history;
mod running;
mod stdin_in_memory;
mod throughput;
mod waiting;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use capstan_core::outcome::CancelledBy;
use tokio::sync::SetOnce;

use self::rate_limit::RateLimits;
use self::running::Running;
use self::stdin_in_memory::StdinInMemory;
use self::throughput::Throughput;
pub use self::waiting::WaitReason;
use crate::engine::Engine;
use crate::events::EventKind;
use crate::job::{Job, JobId};
use crate::job_store::{
    Change, ChangeError, ChangedState, JobStore, JobStoreError, NewJob, Now, Plan, Retention, State, SubmitError,
    Submitted,
};

/// A handle to the queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

/// The configuration of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The jobs of a handler that may wait or run; 100,000 by default. More are refused.
    pub length: u64,
    /// How long an idempotency key is remembered; 24 hours by default.
    pub key_lifetime: Duration,
    /// Which ended jobs are kept; by default those of the last 7 days, at most 100,000 of a handler.
    pub retention: Retention,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    store: Arc<dyn JobStore>,
    config: QueueConfig,
    running: Running,
    stdin_in_memory: StdinInMemory,
    rate_limits: RateLimits,
    throughput: Arc<Throughput>,
    /// The failure after which the store takes no changes.
    failure: SetOnce<JobStoreError>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        let default = crate::job_store::RetentionRule { age: Some(7 * day), count: Some(100_000), bytes: None };
        Self {
            length: 100_000,
            key_lifetime: day,
            retention: Retention { default, batch: 1000, ..Retention::default() },
        }
    }
}

impl Queue {
    /// Returns the queue of the jobs in `store`. They run once [`Queue::start`] is called.
    pub fn new(engine: Engine, store: Arc<dyn JobStore>, config: QueueConfig) -> Self {
        let (events, throughput) = (engine.events().clone(), Arc::new(Throughput::default()));
        let ended = throughput.clone();
        store.watchers().set_listener(Box::new(move |changes| {
            for event in changes.iter().filter_map(event_of) {
                if let EventKind::JobEnd { handler, .. } = &event {
                    ended.count(handler, Instant::now());
                }
                events.publish(event);
            }
        }));
        Self(Arc::new(Inner {
            engine,
            store,
            config,
            running: Running::default(),
            stdin_in_memory: StdinInMemory::default(),
            rate_limits: RateLimits::default(),
            throughput,
            failure: SetOnce::new(),
        }))
    }

    /// Starts to run jobs, until the engine shuts down.
    pub fn start(&self) {
        self.0.engine.spawn(self.clone().run_worker());
        self.0.engine.spawn(self.clone().keep_house());
        self.0.engine.spawn(self.run_history());
    }

    /// Returns the store of its jobs.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        &self.0.store
    }

    /// Returns the engine that runs its jobs.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Returns the configuration.
    pub fn config(&self) -> &QueueConfig {
        &self.0.config
    }

    /// Returns an id for a new job.
    pub fn new_id(&self) -> JobId {
        self.0.engine.sortable_id()
    }

    /// Returns the run of a durable job, if it is in progress.
    pub fn running_job(&self, job: JobId) -> Option<Job> {
        self.0.running.get(job)
    }

    /// Submits `jobs`; see [`JobStore::submit`].
    ///
    /// # Errors
    /// [`JobStoreError`], after which none of the jobs is submitted.
    pub async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Result<Submitted, SubmitError>>, JobStoreError> {
        self.note(self.0.store.submit(Now::read(), jobs).await)
    }

    /// Cancels a job. One that is not running ends at once. Of one that is running, the run is cancelled.
    /// Returns the state that the job has when the call returns.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::Ended`].
    pub async fn cancel(&self, job: JobId, by: CancelledBy) -> Result<State, ChangeError> {
        let state = self.request_cancellation(job, by).await?;
        if state == State::Running {
            self.stop_run(job, by).await?;
        }
        Ok(state)
    }

    /// Records that a job is to be cancelled: it does not run again, whatever becomes of its run. One that is not running ends at once. The run
    /// goes on until [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::Ended`].
    pub async fn request_cancellation(&self, job: JobId, by: CancelledBy) -> Result<State, ChangeError> {
        self.0.store.cancel(Now::read(), job, by).await.inspect_err(|error| self.note_change(error))
    }

    /// Stops the run of a job whose cancellation is recorded. It may be claimed, but not started.
    async fn stop_run(&self, job: JobId, by: CancelledBy) -> Result<(), ChangeError> {
        if self.0.running.cancel(job, by) {
            return Ok(());
        }
        // The run may have ended since. Nothing may be left behind that would cancel a later one.
        let is_running = |details: &crate::job_store::JobDetails| details.job.state == State::Running;
        if !self.0.store.job(job).await?.is_some_and(|details| is_running(&details)) {
            self.0.running.forget_cancellation(job);
        }
        Ok(())
    }

    /// Queues a job that has ended; see [`JobStore::requeue`].
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::NotEnded`].
    pub async fn requeue(&self, job: JobId, plan: Option<Plan>) -> Result<(), ChangeError> {
        self.0.running.forget_cancellation(job);
        self.0.store.requeue(Now::read(), job, plan).await.inspect_err(|error| self.note_change(error))
    }

    /// Pauses or resumes the queue of `handler`. Jobs that run go on.
    ///
    /// # Errors
    /// [`JobStoreError`]
    pub async fn set_paused(&self, handler: &str, is_paused: bool) -> Result<(), JobStoreError> {
        self.note(self.0.store.set_paused(handler, is_paused).await)?;
        self.0.store.watchers().wake_worker();
        Ok(())
    }

    /// Returns how many jobs of `handler` have ended within the last minute.
    pub fn ended_last_minute(&self, handler: &str) -> u64 {
        self.0.throughput.of(handler, Instant::now())
    }

    /// Waits until the store has failed in such a way that it takes no changes until it is opened again. Cancel-safe.
    pub async fn failed(&self) -> JobStoreError {
        self.0.failure.wait().await.clone()
    }

    /// Notes a failure that nothing but a restart repairs.
    pub(crate) fn note<T>(&self, result: Result<T, JobStoreError>) -> Result<T, JobStoreError> {
        if let Err(error @ JobStoreError::Stopped(_)) = &result {
            let _ = self.0.failure.set(error.clone());
        }
        result
    }

    fn note_change(&self, error: &ChangeError) {
        if let ChangeError::Store(error) = error {
            let _ = self.note::<()>(Err(error.clone()));
        }
    }
}

/// Returns the event of a change. The start of a run is published by the engine.
fn event_of(change: &Change) -> Option<EventKind> {
    let ChangedState { state, handler, outcome, attempt } = change.state.as_ref()?;
    let (job, handler) = (change.job, handler.as_ref()?.to_shared());
    match (state, outcome) {
        (State::Queued, _) => Some(EventKind::JobQueue { job, handler }),
        (State::Retrying, _) => Some(EventKind::JobRetry { job, handler, attempt: *attempt }),
        (State::Done | State::Dead, Some(outcome)) => {
            Some(EventKind::JobEnd { job, handler, outcome: outcome.kind().into(), exit_code: outcome.exit_code() })
        }
        _ => None,
    }
}
