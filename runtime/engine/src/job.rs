//! `Job`: one piece of asked work, modelled on a unix process.
//!
//! ```text
//!            start            a slot is free          the handler returns
//! Created ──────────▶ Queued ─────────────────▶ Running ──────────────────▶ Done(End)
//!    │                   │                                                    ▲
//!    │                   └── stopped ─────────────────────────────────────────┤
//!    └── start while the engine shuts down ───────────────────────────────────┘   Refused
//! ```
//!
//! Start, wait and cancel are apart. Of any number of concurrent starts exactly one wins; `wait` may be called any number of times,
//! before and after the end. A job holds what it was given as data, its streams until they are handed to the run, and nothing of the
//! caller's in its [`Env`]: what steers a run is [`Control`], which only the daemon fills.

mod builder;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod id;
mod line;
mod tree;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capstan_core::caller::Caller;
use capstan_core::env::Env;
use capstan_core::limits::Limits;
use capstan_core::mount::{Mount, ScratchGrant};
use capstan_core::outcome::{CancelledBy, Outcome, OutputStream};
use capstan_core::policy::{Policy, PolicyRequest, Reach};
use capstan_core::secret::{Redaction, Secret};
use capstan_core::stream::{FanOut, OutputTarget, Sink, SinkError, Source};
use capstan_core::usage::{Sampler, Usage, UsageReport};
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::builder::{JobBuilder, JobError};
pub use self::id::{JobId, JobIdError};
pub use self::line::{Line, LineError};
use self::tree::JobTree;
pub(crate) use self::tree::LentSlot;
pub use self::tree::{MAX_DEPTH, Parent};
use crate::engine::{Engine, Name, ResolvedHandler};
use crate::handler::{Call, HandlerInfo, Stop};
use crate::history::{Key, Log};

/// Bytes that the arguments and variables of a job may take together, as the kernel bounds those of a process.
pub const MAX_ARGS_AND_ENV: usize = 1 << 20;

/// A handle to a job; clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "each job ends, and has one state: an end of its own on the heap saves nothing"
)]
pub enum State {
    Created,
    Queued,
    Running,
    Done(End),
}

/// What a job was made of: it does not change, and outlives the job for as long as anybody remembers it.
#[derive(Debug)]
pub struct JobSpec {
    pub id: JobId,
    pub handler: Name,
    /// What the handler was when the job was bound to it.
    pub about: Arc<HandlerInfo>,
    pub args: Vec<String>,
    /// What it may use and touch.
    pub policy: Policy,
    /// The job that asked for it.
    pub parent: Option<JobId>,
    /// Who asked for it; for a job of another job, who asked for that. The daemon itself where it is nobody.
    pub caller: Option<Caller>,
    /// By which its caller makes sure that it is made once.
    pub key: Option<Key>,
    /// What it has in common with others that shall not run beside it.
    pub concurrency_key: Option<String>,
    pub created: Timestamp,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub outcome: Outcome,
    /// Why it was no success, in a line: the last that the guest wrote to stderr where it ended by itself.
    pub error: Option<Box<str>>,
    pub at: Timestamp,
    pub usage: UsageReport,
}

/// What steers a run and is never part of what the guest sees.
#[derive(Debug, Default)]
pub struct Control {
    /// What the caller asks for, within the handler's manifest and the operator's ceiling.
    pub asked: PolicyRequest,
    /// Directories granted to this run, besides those of its policy.
    pub mounts: Vec<Mount>,
    /// Who asks.
    pub caller: Option<Caller>,
    /// By which the caller makes sure that the job is made once.
    pub key: Option<Key>,
    /// What the job has in common with others that shall not run beside it.
    pub concurrency_key: Option<String>,
}

/// Why a job did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("job has already been started")]
    AlreadyStarted,
    #[error("the engine is shutting down")]
    ShuttingDown,
    #[error("{runs} runs are going on and {queue} jobs wait, as many as may be")]
    Busy { runs: usize, queue: usize },
    #[error("job {job} has been made under the same key")]
    Taken {
        job: JobId,
        /// Whether both were asked for with the same request.
        same: bool,
    },
}

struct Inner {
    given: Arc<JobSpec>,
    engine: Engine,
    resolved: Arc<ResolvedHandler>,
    log: Option<Log>,
    /// Its streams that go to several sinks.
    fan_outs: Vec<(OutputStream, FanOut)>,
    /// The other end of a stdin that is fed after the start; who takes it feeds it.
    later: Mutex<Option<Sink>>,
    usage: Arc<Usage>,
    stop: Stop,
    kin: JobTree,
    /// What keeps its secrets out of what others read.
    redaction: Redaction,
    state: watch::Sender<State>,
    /// What the run takes over when it starts; who takes it has won the start.
    start: Mutex<Option<Start>>,
    clock: Mutex<Clock>,
    /// What is dropped at the end; nothing once that has come.
    held: Mutex<Option<Vec<Box<dyn Send>>>>,
}

/// Since when the job is where it is.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Created,
    Queued(Instant),
    Running(Instant, Timestamp),
}

struct Start {
    env: Env,
    mounts: Vec<Mount>,
    secrets: Vec<(String, Secret)>,
    scratch: Option<ScratchGrant>,
    network: Option<Box<Reach>>,
    streams: Streams,
}

#[derive(Debug)]
struct Streams {
    stdin: Source,
    stdout: OutputTarget,
    stderr: OutputTarget,
}

impl Job {
    /// Starts the run; it then goes on by itself, whether or not anybody waits.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`] for every start but the first; [`StartError::ShuttingDown`], which ends the job as refused;
    /// [`StartError::Busy`], after which it may be tried again; [`StartError::Taken`] where there is a job with its key.
    pub fn start(&self) -> Result<(), StartError> {
        self.0.engine.clone().start(self)
    }

    /// Waits for the end. Cancel-safe.
    pub async fn wait(&self) -> End {
        let mut state = self.0.state.subscribe();
        let done = state.wait_for(|state| matches!(state, State::Done(_))).await.expect("the job holds the sender");
        match &*done {
            State::Done(end) => end.clone(),
            State::Created | State::Queued | State::Running => unreachable!("waited for the end"),
        }
    }

    /// Asks a running job to end; returns at once. Does nothing to a job that has ended.
    pub fn cancel(&self, by: CancelledBy) {
        self.0.stop.request(Outcome::Cancelled { by });
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.0.given.id
    }

    /// What it was made of.
    pub fn spec(&self) -> &Arc<JobSpec> {
        &self.0.given
    }

    /// The job that asked for it.
    pub fn parent(&self) -> Option<JobId> {
        self.0.given.parent
    }

    /// The name of its handler.
    pub fn name(&self) -> &str {
        self.0.given.handler.as_str()
    }

    /// Its arguments, without the name.
    pub fn args(&self) -> &[String] {
        &self.0.given.args
    }

    /// The limits that hold for it.
    pub fn limits(&self) -> &Limits {
        &self.0.given.policy.limits
    }

    /// What it has printed, where that is kept.
    pub fn log(&self) -> Option<&Log> {
        self.0.log.as_ref()
    }

    /// The sinks that have failed, of a stream that goes to several. They change nothing about how the job ends. The only sink of a
    /// stream is the job's own affair, as the pipe of a process is.
    pub fn sink_errors(&self) -> Vec<(OutputStream, SinkError)> {
        let errors = self.0.fan_outs.iter().map(|(stream, fan_out)| (*stream, fan_out.errors()));
        errors.flat_map(|(stream, errors)| errors.into_iter().map(move |error| (stream, error))).collect()
    }

    /// The other end of a stdin that was left open, for the first who asks; dropping it is the end of that stdin.
    pub fn take_stdin(&self) -> Option<Sink> {
        self.0.later.lock().expect("no panic while the lock is held").take()
    }

    /// Leaves a stdin that was taken to the next who asks.
    pub fn return_stdin(&self, sink: Sink) {
        *self.0.later.lock().expect("no panic while the lock is held") = Some(sink);
        if matches!(*self.0.state.borrow(), State::Done(_)) {
            drop(self.take_stdin());
        }
    }

    /// When its run began.
    pub fn started(&self) -> Option<Timestamp> {
        match *self.0.clock.lock().expect("no panic while the lock is held") {
            Clock::Running(_, at) => Some(at),
            Clock::Created | Clock::Queued(_) => None,
        }
    }

    /// What it was bound to when it was made.
    pub fn resolved(&self) -> &ResolvedHandler {
        &self.0.resolved
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// What it has used so far.
    pub fn usage(&self) -> UsageReport {
        if let State::Done(end) = &*self.0.state.borrow() {
            return end.usage.clone();
        }
        let running = match *self.0.clock.lock().expect("no panic while the lock is held") {
            Clock::Running(since, _) => since.elapsed(),
            Clock::Created | Clock::Queued(_) => Duration::ZERO,
        };
        self.0.usage.report(running)
    }

    /// What samples its run, in debug mode and while a guest runs.
    pub fn sampler(&self) -> Option<Arc<dyn Sampler>> {
        self.0.usage.sampler.get()
    }

    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    pub(crate) fn kin(&self) -> &JobTree {
        &self.0.kin
    }

    /// Queues the job if it was created and `admit` lets it in; of concurrent calls one wins. After a refusal for good
    /// nobody can start it any more, and the caller ends it.
    pub(crate) fn begin<A>(&self, admit: impl FnOnce() -> Result<A, StartError>) -> Result<(Call, A), StartError> {
        let mut start = self.0.start.lock().expect("no panic while the lock is held");
        if start.is_none() {
            return Err(StartError::AlreadyStarted);
        }
        let admission = match admit() {
            Ok(admission) => admission,
            Err(error) => {
                if error == StartError::ShuttingDown {
                    *start = None;
                }
                return Err(error);
            }
        };
        let start = start.take().expect("it was there under the same lock");
        *self.0.clock.lock().expect("no panic while the lock is held") = Clock::Queued(Instant::now());
        self.0.state.send_replace(State::Queued);
        Ok((self.call(start), admission))
    }

    pub(crate) fn set_running(&self) {
        let mut clock = self.0.clock.lock().expect("no panic while the lock is held");
        if let Clock::Queued(since) = *clock {
            self.0.usage.queue.add_time(since.elapsed());
        }
        *clock = Clock::Running(Instant::now(), Timestamp::now());
        drop(clock);
        self.0.state.send_replace(State::Running);
    }

    /// Keeps `guard` until the job has stopped, and drops it before anybody can see that.
    ///
    /// Use it for whatever is counted for as long as the job goes on, instead of a task that waits for the end: that one wakes up after
    /// others have seen the end. Where the job has ended already, the guard is dropped at once.
    pub fn hold_until_end(&self, guard: impl Send + 'static) {
        if let Some(held) = &mut *self.0.held.lock().expect("no panic while the lock is held") {
            held.push(Box::new(guard));
        }
    }

    /// Closes what the job still holds, and sums up its end, which nobody can see before [`Job::set_done`].
    pub(crate) fn sum_up(&self, outcome: Outcome) -> End {
        drop(self.take_stdin());
        let held = self.0.held.lock().expect("no panic while the lock is held").take();
        drop(held);
        for (stream, error) in self.sink_errors() {
            tracing::warn!(target: "capstan::job", id = %self.id(), %stream, "{error}");
        }
        let mask = |error: Box<str>| match self.0.redaction.is_empty() {
            true => error,
            false => self.0.redaction.mask(&error).into(),
        };
        let error = error(&outcome, &self.0.usage).map(mask);
        End { outcome, error, at: Timestamp::now(), usage: self.usage() }
    }

    /// Shows `end` to those who wait for it. By now everything is counted and recorded; see [`engine`](crate::engine).
    pub(crate) fn set_done(&self, end: End) {
        self.0.state.send_replace(State::Done(end));
        // A client may have given it back since it was closed.
        drop(self.take_stdin());
    }

    fn call(&self, start: Start) -> Call {
        Call {
            job: self.id(),
            as_parent: Parent(Some(self.clone())),
            name: self.name().to_owned(),
            args: self.0.given.args.clone(),
            env: start.env,
            stdin: start.streams.stdin,
            stdout: start.streams.stdout.into_sink(),
            stderr: start.streams.stderr.into_sink(),
            limits: self.0.given.policy.limits,
            mounts: start.mounts,
            secrets: start.secrets,
            scratch: start.scratch,
            network: start.network,
            stop: self.0.stop.clone(),
            usage: self.0.usage.clone(),
        }
    }
}

/// What a person is told of a job that was no success.
fn error(outcome: &Outcome, usage: &Usage) -> Option<Box<str>> {
    let text = match outcome {
        outcome if outcome.is_success() => return None,
        Outcome::Exited { code } => {
            usage.last_stderr.last_line().unwrap_or_else(|| format!("exited with status {code}"))
        }
        // Capstan ended it, and knows why better than what it said last.
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    Some(text.into())
}

impl State {
    /// The tokens of all states, as in JSON.
    pub const TOKENS: [&str; 4] = ["created", "queued", "running", "done"];

    /// The stable token of the state, as in JSON.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done(_) => "done",
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Job").field("id", &self.id()).field("name", &self.name()).finish_non_exhaustive()
    }
}
