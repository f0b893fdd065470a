//! `JobBuilder`: a job that is being described.

use std::sync::{Arc, Mutex};

use capstan_core::env::Env;
use capstan_core::mount::{GuestPathError, check_guest_paths};
use capstan_core::outcome::OutputStream;
use capstan_core::policy::{Denied, Grants, SCRATCH};
use capstan_core::secret::Redaction;
use capstan_core::stream::{self, OutputTarget, PIPE_CAPACITY, Sink, Source};
use jiff::Timestamp;
use tokio::sync::watch;

use super::tree::{JobTree, MAX_DEPTH, Parent};
use super::{Clock, Control, Inner, Job, JobId, JobSpec, MAX_ARGS_AND_ENV, Start, State, Streams};
use crate::engine::{Engine, ResolvedHandler};
use crate::handler::{Role, Stop};
use crate::history::Log;

/// A job that is being described; see [`Engine::job`].
#[derive(Debug)]
pub struct JobBuilder {
    engine: Engine,
    resolved: Arc<ResolvedHandler>,
    args: Vec<String>,
    env: Env,
    control: Control,
    parent: Option<Job>,
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
    #[error("jobs start jobs no deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("{0}")]
    Denied(#[from] Denied),
    #[error("mounts: {0}")]
    GuestPath(#[from] GuestPathError),
}

impl JobBuilder {
    pub(crate) fn new(engine: Engine, resolved: Arc<ResolvedHandler>) -> Self {
        let streams = Streams { stdin: Source::empty(), stdout: OutputTarget::Discard, stderr: OutputTarget::Discard };
        let env = resolved.handler().env();
        Self {
            engine,
            resolved,
            args: Vec::new(),
            env,
            control: Control::default(),
            parent: None,
            streams,
            later: None,
            log: None,
        }
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

    /// Makes it a child of a job that runs.
    ///
    /// It is told to end when its parent is stopped, and when its parent ends before it. It may still be started when the engine shuts
    /// down, for as long as its parent goes on. Where no slot is free, its parent lends it its own: a job that waits for another needs
    /// none.
    #[must_use]
    pub fn child_of(mut self, parent: &Parent) -> Self {
        self.parent.clone_from(&parent.0);
        self
    }

    /// Where stdin comes from; by default it is at its end at once.
    #[must_use]
    pub fn stdin(mut self, stdin: Source) -> Self {
        self.streams.stdin = stdin;
        self
    }

    /// Where stdout goes; by default nowhere. Of several sinks each gets all of it: one that is slow holds the job back, and one that
    /// fails is taken out and told of in [`Job::sink_errors`]. Readers that may be too slow have a [`stream::Tap`].
    #[must_use]
    pub fn stdout(mut self, stdout: Sink) -> Self {
        self.streams.stdout = self.streams.stdout.with_sink(stdout);
        self
    }

    /// Where stderr goes, as [`JobBuilder::stdout`].
    #[must_use]
    pub fn stderr(mut self, stderr: Sink) -> Self {
        self.streams.stderr = self.streams.stderr.with_sink(stderr);
        self
    }

    /// Leaves stdin open, to be fed through [`Job::take_stdin`].
    #[must_use]
    pub fn stdin_later(mut self) -> Self {
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        self.later = Some(sink);
        self.stdin(stdin)
    }

    /// Keeps stdout and stderr in a log of the job's own, but for secrets. It is the last of the sinks.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.log = Some(self.engine.records().log());
        self
    }

    /// The job, in state `Created` and bound to the handler as it is now.
    ///
    /// # Errors
    /// [`JobError`] where an argument could not reach the guest unchanged, there is too much of them, or the job would be a child of too
    /// many.
    pub fn build(mut self) -> Result<Job, JobError> {
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
        let is_work = self.resolved.handler().role() == Role::Work;
        let kin = JobTree::of(self.parent.take(), is_work).ok_or(JobError::TooDeep)?;
        let ceiling = self.engine.ceiling();
        let handler = &self.resolved;
        let policy =
            ceiling.evaluate(handler.name().as_str(), handler.handler().asked(), &self.control.asked).into_policy()?;
        let Grants { mut mounts, mut env, secrets, scratch } = ceiling.grants(&policy)?;
        let network = ceiling.reach(&policy, self.engine.own_ports());
        mounts.append(&mut self.control.mounts);
        let paths = mounts.iter().map(|mount| (mount.guest_path.as_str(), mount.file.is_some()));
        check_guest_paths(scratch.iter().map(|_| (SCRATCH, false)).chain(paths))?;
        env.extend(&self.env);
        let redaction = Redaction::new(secrets.iter().map(|(_, secret)| secret.clone()));
        if let Some(log) = self.log.clone() {
            let sink = |stream| Sink::new(log.redacted(stream, &redaction));
            self = self.stdout(sink(OutputStream::Stdout)).stderr(sink(OutputStream::Stderr));
        }
        let of = |stream, outlet: &OutputTarget| outlet.fan_out().map(|fan_out| (stream, fan_out));
        let Streams { stdout, stderr, .. } = &self.streams;
        let fan_outs = [of(OutputStream::Stdout, stdout), of(OutputStream::Stderr, stderr)].into_iter().flatten();
        let fan_outs = fan_outs.collect();
        let start = Start { env, mounts, secrets, scratch, network, streams: self.streams };
        let given = JobSpec {
            id: JobId::random(),
            handler: self.resolved.name().clone(),
            about: self.resolved.info().clone(),
            args: self.args,
            policy,
            parent: kin.parent().map(Job::id),
            caller: kin.parent().map_or(self.control.caller, |parent| parent.spec().caller.clone()),
            key: self.control.key,
            concurrency_key: self.control.concurrency_key,
            created: Timestamp::now(),
        };
        Ok(Job(Arc::new(Inner {
            given: Arc::new(given),
            engine: self.engine,
            resolved: self.resolved,
            log: self.log,
            fan_outs,
            later: Mutex::new(self.later),
            usage: Arc::default(),
            stop: kin.parent().map_or_else(Stop::default, |parent| parent.stop().child()),
            kin,
            redaction,
            state: watch::Sender::new(State::Created),
            start: Mutex::new(Some(start)),
            clock: Mutex::new(Clock::Created),
            held: Mutex::new(Some(Vec::new())),
        })))
    }
}
