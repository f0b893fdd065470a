//! [`Job`]: one unit of requested work, modelled on a Unix process.
//!
//! ```text
//!            start            a slot is free          the handler returns
//! Created ──────────▶ Queued ─────────────────▶ Running ──────────────────▶ Done(JobEnd)
//!    │                   │                                                    ▲
//!    │                   └── stopped ─────────────────────────────────────────┤
//!    └── start while the engine shuts down ───────────────────────────────────┘   Refused
//! ```
//!
//! Start, wait and cancel are separate calls. If a job is started several times at once, exactly one start succeeds. [`Job::wait`] may be
//! called any number of times, before and after the end.
//!
//! A job does not know the engine. [`StartJob`] is the only call that it makes to it.

mod attempt_recorder;
mod command_line;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod id;
mod idempotency_key;
mod run_inputs;
mod spec;
mod start_error;
mod state;
mod stdin_base64;
mod stop;
mod tree;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use capstan_core::limits::Limits;
use capstan_core::outcome::{CancelledBy, Outcome, OutputStream};
use capstan_core::secret::Redaction;
use capstan_core::stream::{EarlyEnd, FanOut, Sink, SinkError};
use capstan_core::usage::{Sampler, Usage, UsageReport};
use jiff::Timestamp;
use tokio::sync::Notify;

pub(crate) use self::attempt_recorder::{Attempt, AttemptRecorder};
pub use self::command_line::{CommandLine, CommandLineError};
pub(crate) use self::id::JobMap;
pub use self::id::{JobId, JobIdError};
pub use self::idempotency_key::{DuplicateKey, IdempotencyKey};
pub(crate) use self::run_inputs::{JobStreams, RunInputs};
pub use self::spec::{JobOptions, JobSpec};
pub use self::start_error::StartError;
pub use self::state::{JobEnd, JobState};
pub use self::stdin_base64::stdin_from_base64;
pub use self::stop::Stop;
pub(crate) use self::tree::{JobTree, LentSlot, TreeNode};
pub use self::tree::{MAX_DEPTH, Parent};
use crate::handler::Call;
use crate::notified;
use crate::output_log::OutputLog;
use crate::registry::ResolvedHandler;

/// A handle to a job. Clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

/// Starts jobs. The engine implements it.
pub(crate) trait StartJob: Send + Sync {
    /// Starts `job`; see [`Job::start`].
    fn start_job(self: Arc<Self>, job: &Job) -> Result<(), StartError>;
}

/// What a new job consists of.
pub(crate) struct JobParts {
    pub(crate) spec: JobSpec,
    pub(crate) starter: Arc<dyn StartJob>,
    pub(crate) handler: Arc<ResolvedHandler>,
    pub(crate) log: Option<OutputLog>,
    /// The other end of a stdin that is fed after the start.
    pub(crate) stdin: Option<Sink>,
    pub(crate) tree: JobTree,
    pub(crate) redaction: Redaction,
    pub(crate) inputs: RunInputs,
    /// Records the run of a durable job.
    pub(crate) recorder: Option<Arc<dyn AttemptRecorder>>,
}

struct Inner {
    spec: Arc<JobSpec>,
    starter: Arc<dyn StartJob>,
    handler: Arc<ResolvedHandler>,
    log: Option<OutputLog>,
    /// The streams that go to several sinks.
    fan_outs: Vec<(OutputStream, FanOut)>,
    /// The other end of a stdin that is fed after the start. Whoever takes it feeds it.
    stdin: Mutex<Option<Sink>>,
    /// Ends stdin for the run. `None` if it is empty.
    stdin_end: Option<EarlyEnd>,
    usage: Arc<Usage>,
    stop: Stop,
    tree: JobTree,
    /// Removes secrets from what others read.
    redaction: Redaction,
    recorder: Option<Arc<dyn AttemptRecorder>>,
    phase: Mutex<Phase>,
    /// Notified when the phase is [`Phase::Done`].
    ended: Notify,
    /// What the run takes over when it starts. The start that takes it succeeds.
    inputs: Mutex<Option<RunInputs>>,
    /// The guards that are dropped at the end, or `None` once the job has ended.
    guards: Mutex<Option<Vec<Box<dyn Send>>>>,
}

/// The state of a job, with the times that it needs itself.
#[derive(Clone, Debug)]
enum Phase {
    Created,
    Queued(Instant),
    Running(Instant, Timestamp),
    Done { started: Option<Timestamp>, end: Arc<JobEnd> },
}

impl Job {
    /// Returns a job in state [`JobState::Created`].
    pub(crate) fn new(parts: JobParts) -> Self {
        let JobParts { spec, starter, handler, log, stdin, tree, redaction, mut inputs, recorder } = parts;
        Self(Arc::new(Inner {
            spec: Arc::new(spec),
            starter,
            handler,
            log,
            fan_outs: inputs.streams.fan_outs(),
            stdin: Mutex::new(stdin),
            stdin_end: inputs.streams.stdin.early_end(),
            usage: Arc::default(),
            stop: tree.parent().map_or_else(Stop::default, |parent| parent.stop().child()),
            tree,
            redaction,
            recorder,
            phase: Mutex::new(Phase::Created),
            ended: Notify::new(),
            inputs: Mutex::new(Some(inputs)),
            guards: Mutex::new(Some(Vec::new())),
        }))
    }

    /// Starts the run and returns. The run continues whether or not anybody waits for it.
    ///
    /// # Errors
    /// - [`StartError::AlreadyStarted`] for every start but the first.
    /// - [`StartError::ShuttingDown`] if the engine shuts down. The job then ends as refused.
    /// - [`StartError::Busy`] if all slots and the queue are full. The job may be started again later.
    /// - [`StartError::DuplicateKey`] if a job with the same idempotency key is remembered.
    pub fn start(&self) -> Result<(), StartError> {
        self.0.starter.clone().start_job(self)
    }

    /// Waits for the end and returns it. Cancel-safe.
    pub async fn wait(&self) -> Arc<JobEnd> {
        notified::wait_for(&self.0.ended, || self.end()).await
    }

    /// Returns the end, or `None` if the job has not ended.
    pub fn end(&self) -> Option<Arc<JobEnd>> {
        match &*self.lock_phase() {
            Phase::Done { end, .. } => Some(end.clone()),
            Phase::Created | Phase::Queued(_) | Phase::Running(..) => None,
        }
    }

    /// Returns whether the job has ended.
    pub fn has_ended(&self) -> bool {
        matches!(*self.lock_phase(), Phase::Done { .. })
    }

    /// Requests the end of the job and returns at once. Does nothing if the job has ended.
    pub fn cancel(&self, by: CancelledBy) {
        if !self.has_ended() {
            self.0.stop.request(Outcome::Cancelled { by });
        }
    }

    /// Returns the id.
    pub fn id(&self) -> JobId {
        self.0.spec.id
    }

    /// Returns the description that the job was made from.
    pub fn spec(&self) -> &Arc<JobSpec> {
        &self.0.spec
    }

    /// Returns the id of the job that started this one.
    pub fn parent(&self) -> Option<JobId> {
        self.0.spec.parent
    }

    /// Returns the name of the handler.
    pub fn name(&self) -> &str {
        self.0.spec.handler.as_str()
    }

    /// Returns the arguments, without the name.
    pub fn args(&self) -> &[String] {
        &self.0.spec.args
    }

    /// Returns the limits that apply to the job.
    pub fn limits(&self) -> &Limits {
        &self.0.spec.policy.limits
    }

    /// Returns the handler that the job was bound to when it was made.
    pub fn resolved(&self) -> &ResolvedHandler {
        &self.0.handler
    }

    /// Returns the log of its output, if it has one.
    pub fn log(&self) -> Option<&OutputLog> {
        self.0.log.as_ref()
    }

    /// Returns the sinks that failed, for streams that go to several. Failed sinks do not change how the job ends. The only sink of a stream
    /// is not among them: as with the pipe of a process, its failure is reported to the job itself.
    pub fn sink_errors(&self) -> Vec<(OutputStream, SinkError)> {
        let errors = self.0.fan_outs.iter().map(|(stream, fan_out)| (*stream, fan_out.errors()));
        errors.flat_map(|(stream, errors)| errors.into_iter().map(move |error| (stream, error))).collect()
    }

    /// Takes the other end of a stdin that was left open, or returns `None` if it is taken. Dropping it ends that stdin.
    pub fn take_stdin(&self) -> Option<Sink> {
        self.lock_stdin().take()
    }

    /// Ends stdin for the run, as a notice that it is to end: whoever reads finds the end of the stream, whatever was not read yet.
    pub fn end_stdin(&self) {
        if let Some(end) = &self.0.stdin_end {
            end.end();
        }
        drop(self.take_stdin());
    }

    /// Returns a stdin that was taken, so that another caller can take it.
    pub fn return_stdin(&self, sink: Sink) {
        *self.lock_stdin() = Some(sink);
        if self.has_ended() || self.0.stdin_end.as_ref().is_some_and(EarlyEnd::has_ended) {
            drop(self.take_stdin());
        }
    }

    /// Returns when its run started, or `None` if it has not.
    pub fn started(&self) -> Option<Timestamp> {
        self.lock_phase().started()
    }

    /// Returns the current state.
    pub fn state(&self) -> JobState {
        match &*self.lock_phase() {
            Phase::Created => JobState::Created,
            Phase::Queued(_) => JobState::Queued,
            Phase::Running(..) => JobState::Running,
            Phase::Done { end, .. } => JobState::Done(end.clone()),
        }
    }

    /// Returns what the job has used so far.
    pub fn usage(&self) -> UsageReport {
        let running = match &*self.lock_phase() {
            Phase::Running(since, _) => since.elapsed(),
            Phase::Created | Phase::Queued(_) => Duration::ZERO,
            Phase::Done { end, .. } => return end.usage.clone(),
        };
        self.0.usage.report(running)
    }

    /// Returns the sampler of its run. Only debug mode has one, and only while a guest runs.
    pub fn sampler(&self) -> Option<Arc<dyn Sampler>> {
        self.0.usage.sampler.get()
    }

    /// Returns the request to end it.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    pub(crate) fn tree(&self) -> &JobTree {
        &self.0.tree
    }

    /// Returns what records the run, if the job is durable.
    pub(crate) fn recorder(&self) -> Option<&Arc<dyn AttemptRecorder>> {
        self.0.recorder.as_ref()
    }

    /// Moves the job from `Created` to `Queued` if `admit` succeeds, and returns the call for its handler.
    ///
    /// If several calls run at once, one succeeds. After [`StartError::ShuttingDown`] nobody can start the job any more, and the caller ends
    /// it.
    pub(crate) fn enqueue<A>(&self, admit: impl FnOnce() -> Result<A, StartError>) -> Result<(Call, A), StartError> {
        let mut inputs = self.0.inputs.lock().expect("no panic while the lock is held");
        if inputs.is_none() {
            return Err(StartError::AlreadyStarted);
        }
        let admission = match admit() {
            Ok(admission) => admission,
            Err(error) => {
                if error == StartError::ShuttingDown {
                    *inputs = None;
                }
                return Err(error);
            }
        };
        let inputs = inputs.take().expect("they were there under the same lock");
        *self.lock_phase() = Phase::Queued(Instant::now());
        Ok((self.call(inputs), admission))
    }

    pub(crate) fn set_running(&self) {
        let mut phase = self.lock_phase();
        let now = Instant::now();
        if let Phase::Queued(since) = *phase {
            self.0.usage.queue.add_time(now.saturating_duration_since(since));
        }
        *phase = Phase::Running(now, Timestamp::now());
    }

    /// Holds `guard` until the job has stopped, and drops it before anybody can see the end. If the job has ended, drops it at once.
    ///
    /// Use it for what is counted while the job is in flight. A task that waits for the end instead would wake up after others have seen
    /// the end.
    pub fn hold_until_end(&self, guard: impl Send + 'static) {
        if let Some(guards) = &mut *self.lock_guards() {
            guards.push(Box::new(guard));
        }
    }

    /// Releases what the job still holds and returns its end. Nobody can see the end before [`Job::set_done`].
    pub(crate) fn close(&self, outcome: Outcome) -> Arc<JobEnd> {
        drop(self.take_stdin());
        let guards = self.lock_guards().take();
        drop(guards);
        for (stream, error) in self.sink_errors() {
            tracing::warn!(target: "capstan::job::stream", id = %self.id(), %stream, "{error}");
        }
        let redact = |line: Box<str>| match self.0.redaction.is_empty() {
            true => line,
            false => self.0.redaction.mask(&line).into(),
        };
        let error = state::failure_line(&outcome, &self.0.usage).map(redact);
        Arc::new(JobEnd { outcome, error, at: Timestamp::now(), usage: self.usage() })
    }

    /// Publishes `end` to those who wait for it. By now it is counted and recorded; see [`engine`](crate::engine).
    pub(crate) fn set_done(&self, end: Arc<JobEnd>) {
        let mut phase = self.lock_phase();
        *phase = Phase::Done { started: phase.started(), end };
        drop(phase);
        self.0.ended.notify_waiters();
        // A client may have returned its stdin after it was closed.
        drop(self.take_stdin());
    }

    fn call(&self, inputs: RunInputs) -> Call {
        Call {
            job: self.id(),
            as_parent: Parent::new(self.0.clone()),
            name: self.name().to_owned(),
            args: self.0.spec.args.clone(),
            invoke: inputs.invoke,
            http: inputs.http,
            env: inputs.env,
            stdin: inputs.streams.stdin,
            stdout: inputs.streams.stdout.into_sink(),
            stderr: inputs.streams.stderr.into_sink(),
            terminals: self.0.spec.terminals,
            limits: self.0.spec.policy.limits,
            mounts: inputs.mounts,
            secrets: inputs.secrets,
            scratch: inputs.scratch,
            network: inputs.network,
            outbound: inputs.outbound,
            data: inputs.data,
            config: Arc::default(),
            stop: self.0.stop.clone(),
            usage: self.0.usage.clone(),
        }
    }

    fn lock_stdin(&self) -> MutexGuard<'_, Option<Sink>> {
        self.0.stdin.lock().expect("no panic while the lock is held")
    }

    fn lock_guards(&self) -> MutexGuard<'_, Option<Vec<Box<dyn Send>>>> {
        self.0.guards.lock().expect("no panic while the lock is held")
    }

    fn lock_phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().expect("no panic while the lock is held")
    }
}

impl Phase {
    /// Returns when the run started, or `None` if it has not.
    fn started(&self) -> Option<Timestamp> {
        match *self {
            Self::Running(_, at) => Some(at),
            Self::Done { started, .. } => started,
            Self::Created | Self::Queued(_) => None,
        }
    }
}

impl TreeNode for Inner {
    fn spec(&self) -> &Arc<JobSpec> {
        &self.spec
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn tree(&self) -> &JobTree {
        &self.tree
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobSpec { id, handler, .. } = &*self.spec;
        formatter.debug_struct("Job").field("id", id).field("name", &handler.as_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}
