//! `Handler`: what a name resolves to, native code or a wasm program, behind one trait.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;

use capstan_core::env::Env;
use capstan_core::limits::Limits;
use capstan_core::mount::{Mount, ScratchGrant};
use capstan_core::outcome::{CancelledBy, Outcome};
use capstan_core::policy::{PolicyRequest, Reach};
use capstan_core::secret::Secret;
use capstan_core::stream::{LineCapture, Sink, Source};
use capstan_core::usage::Usage;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::job::{JobId, Parent};

/// The work of one call, and how it ended.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Something that can answer to a name.
///
/// [`Handler::run`] is called once a run. Its future ends soon after [`Stop::requested`] does: nobody else ends it. Dropping the
/// streams of the [`Call`] closes them, so a handler keeps none of them longer than its work.
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// What it is, for lists.
    fn info(&self) -> HandlerInfo;

    /// Whether it is work, or a service that is not expected to end.
    fn role(&self) -> Role {
        Role::Work
    }

    /// What its manifest asks for, within the operator's ceiling.
    fn asked(&self) -> &PolicyRequest {
        static NOTHING: PolicyRequest = PolicyRequest::EMPTY;
        &NOTHING
    }

    /// The variables its manifest sets, which a caller may override.
    fn env(&self) -> Env {
        Env::new()
    }

    /// Begins one run.
    fn run(self: Arc<Self>, call: Call) -> HandlerFuture;
}

/// What a run was given: the job's data, its streams, and the means to watch and stop it.
#[derive(Debug)]
pub struct Call {
    pub job: JobId,
    /// The job as the parent of others, for [`JobBuilder::child_of`](crate::job::JobBuilder::child_of).
    pub as_parent: Parent,
    /// What the guest finds before its arguments: the name of the handler, unless its manifest gives another.
    pub name: String,
    pub args: Vec<String>,
    pub env: Env,
    pub stdin: Source,
    pub stdout: Sink,
    pub stderr: Sink,
    pub limits: Limits,
    pub mounts: Vec<Mount>,
    /// Variables besides `env`, and before those of the same name: nobody but the guest is shown them.
    pub secrets: Vec<(String, Secret)>,
    pub scratch: Option<ScratchGrant>,
    /// What of the network may be reached; nothing where it is none.
    pub network: Option<Box<Reach>>,
    pub stop: Stop,
    pub usage: Arc<Usage>,
}

impl Call {
    /// Says on stderr why the work failed, as a line of its own; gives the outcome that goes with it.
    pub async fn fail(&mut self, code: u8, why: impl fmt::Display) -> Outcome {
        // Where nobody reads it, the code says it alone.
        let _ = self.stderr.write_all(format!("{why}\n").as_bytes()).await;
        Outcome::Exited { code }
    }

    /// A call that was given nothing.
    pub fn nothing() -> Self {
        Self {
            job: JobId::NONE,
            as_parent: Parent::nobody(),
            name: String::new(),
            args: Vec::new(),
            env: Env::new(),
            stdin: Source::empty(),
            stdout: Sink::discard(),
            stderr: Sink::discard(),
            limits: Limits::default(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            scratch: None,
            network: None,
            stop: Stop::default(),
            usage: Arc::default(),
        }
    }
}

/// Whether a handler's jobs count as work in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It ends by itself; shutdown waits for it, a deadline bounds it.
    Work,
    /// It asks something of the daemon and ends soon: it counts as no work and needs no slot, so that a full or a draining daemon
    /// still says how it is.
    Query,
    /// It runs for the life of the daemon; only the daemon may start it. The ancestor exempted one job by its name.
    Service,
}

/// What a handler is, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerInfo {
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes of the program; 0 for native handlers.
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// What a handler is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Code of the daemon.
    Native,
    /// A core module for WASI preview 1.
    Module,
    /// A component for `wasi:cli/command` 0.2.
    Component,
}

/// The request to end a run, made once, with the outcome it shall have.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    outcome: Arc<OnceLock<Outcome>>,
}

impl Stop {
    /// Asks for the end; the first request decides the outcome, later ones change nothing.
    pub fn request(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            self.token.cancel();
        }
    }

    /// Waits for the request. Cancel-safe.
    pub async fn requested(&self) -> Outcome {
        self.token.cancelled().await;
        // Where nobody asked for this one, it is the parent that is stopped.
        self.outcome.get_or_init(|| Outcome::Cancelled { by: CancelledBy::Parent }).clone()
    }

    /// What stops a child: its own request, and the end of this.
    pub(crate) fn child(&self) -> Self {
        Self { token: self.token.child_token(), outcome: Arc::default() }
    }

    /// Stops all children.
    pub(crate) fn end_children(&self) {
        self.token.cancel();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }
}

/// A handler that is a function of the daemon.
pub struct Native {
    description: &'static str,
    usage: Option<&'static str>,
    role: Role,
    run: Box<dyn Fn(Call) -> HandlerFuture + Send + Sync>,
}

impl Native {
    /// Work that ends by itself.
    pub fn work<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Work, run)
    }

    /// A question that the daemon answers of itself.
    pub fn query<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Query, run)
    }

    /// A service of the daemon.
    pub fn service<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Service, run)
    }

    fn new<F, Fut>(description: &'static str, role: Role, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Arc::new(Self { description, usage: None, role, run: Box::new(move |call| Box::pin(run(call))) })
    }

    /// The same with a line that says how it is called, before it is shared.
    #[must_use]
    pub fn with_usage(mut self: Arc<Self>, usage: &'static str) -> Arc<Self> {
        Arc::get_mut(&mut self).expect("it was just made, and nobody else has it").usage = Some(usage);
        self
    }
}

impl Handler for Native {
    fn info(&self) -> HandlerInfo {
        let (description, usage) = (Some(self.description.to_owned()), self.usage.map(str::to_owned));
        HandlerInfo { kind: Kind::Native, digest: None, size: 0, description, usage }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn run(self: Arc<Self>, mut call: Call) -> HandlerFuture {
        let stderr = std::mem::replace(&mut call.stderr, Sink::discard());
        call.stderr = Sink::new(LineCapture::new(stderr, call.usage.clone()));
        (self.run)(call)
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Native").field("description", &self.description).field("role", &self.role).finish()
    }
}
