//! [`JobBuilder`]: describes a job and builds it.

use std::sync::Arc;

use capstan_core::env::Env;
use capstan_core::http::Exchange;
use capstan_core::manifest::HistoryMode;
use capstan_core::mount::{APP, GuestPathError, check_guest_paths};
use capstan_core::outcome::OutputStream;
use capstan_core::policy::{Denied, Grants, SCRATCH};
use capstan_core::secret::Redaction;
use capstan_core::stream::{self, PIPE_CAPACITY, Sink, Source};
use jiff::Timestamp;

use super::Engine;
use crate::handler::{Kind, Role};
use crate::job::{
    Attempt, Job, JobId, JobOptions, JobParts, JobSpec, JobStreams, JobTree, MAX_DEPTH, Parent, RunInputs,
};
use crate::output_log::OutputLog;
use crate::registry::{RegistryError, ResolvedHandler};

/// The bytes that the arguments and variables of a job may take together. The kernel limits those of a process in the same way.
const MAX_ARGS_AND_ENV: usize = 1 << 20;

/// Describes a job and builds it; see [`Engine::job`].
#[derive(Debug)]
pub struct JobBuilder {
    engine: Engine,
    resolved: Arc<ResolvedHandler>,
    args: Vec<String>,
    env: Env,
    options: JobOptions,
    parent: Parent,
    streams: JobStreams,
    /// The other end of a stdin that is fed after the start.
    stdin_sink: Option<Sink>,
    log: Option<OutputLog>,
    attempt: Option<Attempt>,
    http: Option<Box<Exchange>>,
}

/// Why a job could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobBuildError {
    #[error("argument {0} contains a NUL byte")]
    ArgContainsNul(usize),
    #[error("arguments and variables take {0} bytes; the limit is {MAX_ARGS_AND_ENV}")]
    TooLarge(usize),
    #[error("a builtin has no functions to invoke")]
    NotInvocable,
    #[error("the job would be started by a chain of more than {MAX_DEPTH} jobs, which is the limit")]
    TooDeep,
    #[error("{0}")]
    Denied(#[from] Denied),
    #[error("mounts: {0}")]
    GuestPath(#[from] GuestPathError),
}

impl Engine {
    /// Returns a builder for a job of the handler that `name` resolves to now.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn job(&self, name: &str) -> Result<JobBuilder, RegistryError> {
        Ok(JobBuilder::new(self.clone(), self.resolve(name)?))
    }
}

impl JobBuilder {
    fn new(engine: Engine, resolved: Arc<ResolvedHandler>) -> Self {
        Self {
            engine,
            env: resolved.handler().env(),
            resolved,
            args: Vec::new(),
            options: JobOptions::default(),
            parent: Parent::none(),
            streams: JobStreams::none(),
            stdin_sink: None,
            log: None,
            attempt: None,
            http: None,
        }
    }

    /// Appends arguments. The guest finds the handler's name before them.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets variables, which override those of the manifest.
    #[must_use]
    pub fn env(mut self, env: &Env) -> Self {
        self.env.extend(env);
        self
    }

    /// Sets the options that the guest does not see.
    #[must_use]
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }

    /// Makes the job a child of a running job.
    ///
    /// A child is stopped when its parent is stopped or ends. While its parent runs, it may still be started when the engine shuts down. If
    /// no slot is free, its parent lends it its own slot, because a job that waits for another needs none.
    #[must_use]
    pub fn child_of(mut self, parent: &Parent) -> Self {
        self.parent.clone_from(parent);
        self
    }

    /// Sets the source of stdin. By default it is empty.
    #[must_use]
    pub fn stdin(mut self, stdin: Source) -> Self {
        self.streams.stdin = stdin;
        self
    }

    /// Adds a sink for stdout. By default there is none.
    ///
    /// Each of several sinks gets all of stdout. A slow one slows the job down. One that fails is removed and reported by
    /// [`Job::sink_errors`]. Use a [`stream::Tap`] for a reader that may be too slow.
    #[must_use]
    pub fn stdout(mut self, stdout: Sink) -> Self {
        self.streams.stdout = self.streams.stdout.with_sink(stdout);
        self
    }

    /// Adds a sink for stderr; see [`JobBuilder::stdout`].
    #[must_use]
    pub fn stderr(mut self, stderr: Sink) -> Self {
        self.streams.stderr = self.streams.stderr.with_sink(stderr);
        self
    }

    /// Makes the job answer a request. Its stdin is the body of the request, and its stdout that of the response.
    #[must_use]
    pub fn http(mut self, exchange: Exchange) -> Self {
        self.http = Some(Box::new(exchange));
        self
    }

    /// Leaves stdin open. It is fed through [`Job::take_stdin`].
    #[must_use]
    pub fn stdin_later(mut self) -> Self {
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        self.stdin_sink = Some(sink);
        self.stdin(stdin)
    }

    /// Stores stdout and stderr in a log of the job, without secrets. The log is the last of the sinks.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.log = Some(self.engine.history().new_log());
        self
    }

    /// Makes the job a run of a durable job, which has its id and is recorded by the queue.
    #[must_use]
    pub(crate) fn attempt(mut self, attempt: Attempt) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Builds the job, in state `Created` and bound to the current handler of the name.
    ///
    /// # Errors
    /// Returns [`JobBuildError`] if an argument could not reach the guest unchanged, the arguments and variables are too large, the chain of
    /// parents is too long, the policy is denied, or mounts overlap.
    pub fn build(mut self) -> Result<Job, JobBuildError> {
        self.check_size()?;
        let gets_slot = self.resolved.role() == Role::Work;
        let tree = JobTree::child_of(self.parent, gets_slot).ok_or(JobBuildError::TooDeep)?;
        let ceiling = self.engine.ceiling();
        let name = self.resolved.name();
        let policy = self.resolved.policy(&ceiling, &self.options.policy)?;
        let Grants { mut mounts, mut env, mut secrets, scratch } = ceiling.grants(&policy)?;
        let network = ceiling.reach(&policy, self.engine.own_ports());
        let outbound = ceiling.http_reach(&policy, self.engine.own_ports(), random_token);
        let data = self.engine.data_with(name, &policy.limits);
        mounts.append(&mut self.options.mounts);
        let paths = mounts.iter().map(|mount| (mount.guest_path.as_str(), mount.file.is_some()));
        let files = self.resolved.handler().has_files().then_some((APP, false));
        check_guest_paths(files.into_iter().chain(scratch.iter().map(|_| (SCRATCH, false))).chain(paths))?;
        env.extend(&self.env);
        let of_requests = outbound.iter().flat_map(|reach| reach.secrets());
        let redaction = Redaction::new(secrets.iter().map(|(_, secret)| secret).chain(of_requests).cloned());
        for (name, token) in outbound.iter().flat_map(|reach| reach.placeholders()) {
            // A variable that is asked for as a placeholder never has the secret itself.
            secrets.retain(|(known, _)| known != name);
            env.set(name, token).expect("the policy was checked for valid names");
        }
        let mut streams = self.streams;
        if let Some(log) = &self.log {
            let sink = |stream| Sink::new(log.redacting_writer(stream, &redaction));
            streams.stdout = streams.stdout.with_sink(sink(OutputStream::Stdout));
            streams.stderr = streams.stderr.with_sink(sink(OutputStream::Stderr));
        }
        if let Some(Attempt { recorder, .. }) = &self.attempt {
            streams.stdout = streams.stdout.with_sink(recorder.sink(OutputStream::Stdout, &redaction));
            streams.stderr = streams.stderr.with_sink(recorder.sink(OutputStream::Stderr, &redaction));
        }
        let parent = tree.parent().map(|parent| parent.spec());
        let spec = JobSpec {
            id: match &self.attempt {
                Some(attempt) => attempt.job,
                None if self.resolved.handler().history() == HistoryMode::Durable => self.engine.sortable_id(),
                None => JobId::random(),
            },
            handler: name.clone(),
            handler_info: self.resolved.info().clone(),
            args: self.args,
            policy,
            parent: parent.map(|parent| parent.id),
            caller: parent.map_or(self.options.caller, |parent| parent.caller.clone()),
            key: self.options.key,
            concurrency_key: self.options.concurrency_key,
            terminals: self.options.terminals,
            created: self.attempt.as_ref().map_or_else(Timestamp::now, |attempt| attempt.submitted),
        };
        Ok(Job::new(JobParts {
            spec,
            starter: self.engine.0,
            handler: self.resolved,
            log: self.log,
            stdin: self.stdin_sink,
            tree,
            redaction,
            inputs: RunInputs {
                invoke: self.options.invoke,
                http: self.http,
                env,
                mounts,
                secrets,
                scratch,
                network,
                outbound,
                data,
                streams,
            },
            recorder: self.attempt.map(|attempt| attempt.recorder),
        }))
    }

    fn check_size(&self) -> Result<(), JobBuildError> {
        if self.options.invoke.is_some() && self.resolved.info().kind == Kind::Native {
            return Err(JobBuildError::NotInvocable);
        }
        let mut size = self.options.invoke.as_ref().map_or(0, String::len);
        size += self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
        for (index, arg) in self.args.iter().enumerate() {
            if arg.contains('\0') {
                return Err(JobBuildError::ArgContainsNul(index));
            }
            size += arg.len() + 1;
        }
        if size > MAX_ARGS_AND_ENV { Err(JobBuildError::TooLarge(size)) } else { Ok(()) }
    }
}

/// Returns what a guest finds in place of a secret that only its HTTP requests may carry.
fn random_token() -> String {
    format!("capstan-secret-{:032x}", rand::random::<u128>())
}
