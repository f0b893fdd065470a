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

mod id;
mod line;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

pub use self::id::{BadJobId, JobId};
pub use self::line::{Line, LineError};
use crate::engine::{Engine, Name, Resolved};
use crate::env::Env;
use crate::handler::{About, Call, Stop};
use crate::history::{Key, Log};
use crate::limits::{Asked, Limits};
use crate::mount::Mount;
use crate::outcome::{CancelledBy, Outcome, OutputStream};
use crate::stream::{self, PIPE_CAPACITY, Sink, Source};
use crate::usage::{Usage, UsageReport};

/// Bytes that the arguments and variables of a job may take together, as the kernel bounds those of a process.
pub const MAX_ARGS_AND_ENV: usize = 1 << 20;

/// A handle to a job; clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Created,
    Queued,
    Running,
    Done(End),
}

/// What a job was made of: it does not change, and outlives the job for as long as anybody remembers it.
#[derive(Debug)]
pub struct Given {
    pub id: JobId,
    pub handler: Name,
    /// What the handler was when the job was bound to it.
    pub about: Arc<About>,
    pub args: Vec<String>,
    /// The limits that hold for it.
    pub limits: Limits,
    /// The job that asked for it.
    pub parent: Option<JobId>,
    /// By which its caller makes sure that it is made once.
    pub key: Option<Key>,
    pub created: Timestamp,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub outcome: Outcome,
    pub at: Timestamp,
    pub usage: UsageReport,
}

/// What steers a run and is never part of what the guest sees.
#[derive(Debug, Default)]
pub struct Control {
    /// What the caller asks for, within the handler's manifest and the operator's ceiling.
    pub asked: Asked,
    /// The job that asked for this one.
    pub parent: Option<JobId>,
    /// Directories granted to this run.
    pub mounts: Vec<Mount>,
    /// By which the caller makes sure that the job is made once.
    pub key: Option<Key>,
}

/// A job that is being described; see [`Engine::job`].
#[derive(Debug)]
pub struct JobBuilder {
    engine: Engine,
    resolved: Arc<Resolved>,
    args: Vec<String>,
    env: Env,
    control: Control,
    streams: Streams,
    later: Option<Sink>,
    log: Option<Log>,
}

/// Why a job could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    #[error("argument {0} holds NUL")]
    ArgHoldsNul(usize),
    #[error("arguments and variables take {0} bytes, more than the {MAX_ARGS_AND_ENV} a job may have")]
    TooLarge(usize),
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
    given: Arc<Given>,
    engine: Engine,
    resolved: Arc<Resolved>,
    log: Option<Log>,
    /// The other end of a stdin that is fed after the start; who takes it feeds it.
    later: Mutex<Option<Sink>>,
    usage: Arc<Usage>,
    stop: Stop,
    state: watch::Sender<State>,
    /// What the run takes over when it starts; who takes it has won the start.
    start: Mutex<Option<Start>>,
    clock: Mutex<Clock>,
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
    streams: Streams,
}

#[derive(Debug)]
struct Streams {
    stdin: Source,
    stdout: Sink,
    stderr: Sink,
}

impl JobBuilder {
    pub(crate) fn new(engine: Engine, resolved: Arc<Resolved>) -> Self {
        let streams = Streams { stdin: Source::empty(), stdout: Sink::discard(), stderr: Sink::discard() };
        let env = resolved.handler().env();
        Self { engine, resolved, args: Vec::new(), env, control: Control::default(), streams, later: None, log: None }
    }

    /// Appends arguments; the guest finds the handler's name before them.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets variables on top of those of the manifest.
    #[must_use]
    pub fn env(mut self, env: &Env) -> Self {
        self.env.extend(env);
        self
    }

    /// Sets what steers the run.
    #[must_use]
    pub fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// Where stdin comes from; by default it is at its end at once.
    #[must_use]
    pub fn stdin(mut self, stdin: Source) -> Self {
        self.streams.stdin = stdin;
        self
    }

    /// Where stdout goes; by default nowhere.
    #[must_use]
    pub fn stdout(mut self, stdout: Sink) -> Self {
        self.streams.stdout = stdout;
        self
    }

    /// Where stderr goes; by default nowhere.
    #[must_use]
    pub fn stderr(mut self, stderr: Sink) -> Self {
        self.streams.stderr = stderr;
        self
    }

    /// Leaves stdin open, to be fed through [`Job::take_stdin`].
    #[must_use]
    pub fn stdin_later(mut self) -> Self {
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        self.later = Some(sink);
        self.stdin(stdin)
    }

    /// Keeps stdout and stderr in a log of the job's own.
    #[must_use]
    pub fn logged(mut self) -> Self {
        let log = self.engine.records().log();
        self.log = Some(log.clone());
        let sink = |stream| Sink::new(log.writer(stream));
        self.stdout(sink(OutputStream::Stdout)).stderr(sink(OutputStream::Stderr))
    }

    /// The job, in state `Created` and bound to the handler as it is now.
    ///
    /// # Errors
    /// [`JobError`] where an argument could not reach the guest unchanged, or there is too much of them.
    pub fn build(self) -> Result<Job, JobError> {
        let mut size = self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
        for (at, arg) in self.args.iter().enumerate() {
            if arg.contains('\0') {
                return Err(JobError::ArgHoldsNul(at));
            }
            size += arg.len() + 1;
        }
        if size > MAX_ARGS_AND_ENV {
            return Err(JobError::TooLarge(size));
        }
        let limits = self.engine.ceiling().narrowed(&self.resolved.handler().asked()).narrowed(&self.control.asked);
        let start = Start { env: self.env, mounts: self.control.mounts, streams: self.streams };
        let given = Given {
            id: JobId::random(),
            handler: self.resolved.name().clone(),
            about: self.resolved.about().clone(),
            args: self.args,
            limits,
            parent: self.control.parent,
            key: self.control.key,
            created: Timestamp::now(),
        };
        Ok(Job(Arc::new(Inner {
            given: Arc::new(given),
            engine: self.engine,
            resolved: self.resolved,
            log: self.log,
            later: Mutex::new(self.later),
            usage: Arc::default(),
            stop: Stop::default(),
            state: watch::Sender::new(State::Created),
            start: Mutex::new(Some(start)),
            clock: Mutex::new(Clock::Created),
        })))
    }
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
    pub fn given(&self) -> &Arc<Given> {
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
        &self.0.given.limits
    }

    /// What it has printed, where that is kept.
    pub fn log(&self) -> Option<&Log> {
        self.0.log.as_ref()
    }

    /// The other end of a stdin that was left open, for the first who asks; dropping it is the end of that stdin.
    pub fn take_stdin(&self) -> Option<Sink> {
        self.0.later.lock().expect("no panic while the lock is held").take()
    }

    /// When its run began.
    pub fn started(&self) -> Option<Timestamp> {
        match *self.0.clock.lock().expect("no panic while the lock is held") {
            Clock::Running(_, at) => Some(at),
            Clock::Created | Clock::Queued(_) => None,
        }
    }

    /// What it was bound to when it was made.
    pub fn resolved(&self) -> &Resolved {
        &self.0.resolved
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// What it has used so far.
    pub fn usage(&self) -> UsageReport {
        if let State::Done(end) = &*self.0.state.borrow() {
            return end.usage;
        }
        let running = match *self.0.clock.lock().expect("no panic while the lock is held") {
            Clock::Running(since, _) => since.elapsed(),
            Clock::Created | Clock::Queued(_) => Duration::ZERO,
        };
        self.0.usage.report(running)
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Queues the job if it was created and `admit` lets it in; of concurrent calls one wins. A refusal for good ends it.
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
                    self.finish(Outcome::Refused { why: error.to_string() });
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

    pub(crate) fn finish(&self, outcome: Outcome) -> End {
        drop(self.take_stdin());
        let end = End { outcome, at: Timestamp::now(), usage: self.usage() };
        self.0.state.send_replace(State::Done(end.clone()));
        end
    }

    fn call(&self, start: Start) -> Call {
        Call {
            job: self.id(),
            name: self.name().to_owned(),
            args: self.0.given.args.clone(),
            env: start.env,
            stdin: start.streams.stdin,
            stdout: start.streams.stdout,
            stderr: start.streams.stderr,
            limits: self.0.given.limits,
            mounts: start.mounts,
            stop: self.0.stop.clone(),
            usage: self.0.usage.clone(),
        }
    }
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
