//! [`Sandbox`]: loads programs and runs them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use capstan_confinement::Mode;
use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_engine::handler::Handler;
use capstan_engine::handler_store::LoadError;
use capstan_engine::tasks::{TaskGuard, Tasks};
use capstan_store::Artifacts;

use crate::compile::{CompileLimits, Compiler, Compiles};
use crate::engines::Machines;
use crate::epoch_ticker::Ticker;
use crate::guest_runtime::Guests;
use crate::network::Resolver;
use crate::profile::{self, Profile};
use crate::program::Program;

/// What a sandbox is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What no run may use more of.
    pub ceiling: Limits,
    /// How many runs may go on at a time.
    pub runs: usize,
    /// Bytes of the stack of each guest. Default [`DEFAULT_STACK`].
    pub stack: usize,
    /// What compiling one program may take.
    pub compile: CompileLimits,
    /// The program that compiles: this one, called with `compile-child`.
    pub compiler: PathBuf,
    /// What that gives up before it does.
    pub confine: Mode,
    /// Where compiled code is kept; without it every load compiles.
    pub artifacts: Option<Artifacts>,
    /// Where its threads and compilations are noted; where they are, runs can be profiled.
    pub tasks: Tasks,
    /// What guests' names are looked up with.
    pub resolver: Resolver,
}

/// Why the sandbox could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot set up the wasm engine: {0}")]
    Engine(String),
    #[error("cannot start the threads that run guests")]
    Threads(#[source] std::io::Error),
}

/// Whether fuel is counted. It costs a program a part of its speed, and is compiled into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metering {
    Off,
    On,
}

impl Metering {
    /// What a run with this limit needs.
    pub fn for_limit(fuel: Option<u64>) -> Self {
        if fuel.is_some() { Self::On } else { Self::Off }
    }
}

/// Loads and runs programs; clones are the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machines: Machines,
    pub(crate) compiler: Compiler,
    pub(crate) guests: Guests,
    pub(crate) resolver: Resolver,
    pub(crate) ticker: Ticker,
    /// Whether runs can be profiled.
    pub(crate) is_watched: bool,
    _notes: [Option<TaskGuard>; 2],
}

impl Sandbox {
    /// Builds the sandbox. Called once, at start; reserves address space for every run that may go on, and no memory.
    ///
    /// # Errors
    /// [`SandboxError`] where the kernel does not give the address space or the threads.
    pub fn new(config: Config) -> Result<Self, SandboxError> {
        let engine = profile::default_engine(&config).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let machines =
            Machines::new(engine.clone(), config.stack).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(engine).map_err(SandboxError::Threads)?;
        let guests = Guests::start().map_err(SandboxError::Threads)?;
        let (tasks, resolver) = (config.tasks.clone(), config.resolver.clone());
        let notes = [
            tasks.track("sandbox", || "ticker of the epoch".to_owned()),
            tasks.track("sandbox", || format!("{} guest threads", guests.threads())),
        ];
        let compiler = Compiler::new(&machines.default().fingerprint, config);
        let is_watched = tasks.are_tracked();
        Ok(Self(Arc::new(Inner { machines, compiler, guests, resolver, ticker, is_watched, _notes: notes })))
    }

    /// How compiling goes.
    pub fn compiles(&self) -> Compiles {
        self.0.compiler.compiles()
    }

    /// Slots of each pool that runs use now; those of further profiles have none.
    pub fn slots_used(&self) -> [(&'static str, usize); 5] {
        profile::slots_used(&self.0.machines.default().engine)
    }

    /// Compiles `wasm` in a child unless that was done before, checks and pre-links it, with the features that `manifest` asks for. Cancel-safe: dropping the future kills the child, unless others wait for the
    /// same program.
    ///
    /// # Errors
    /// [`LoadError`] says whose fault it is: all are the program's but [`LoadError::Unavailable`].
    pub async fn load(
        &self,
        wasm: Bytes,
        manifest: Manifest,
        metering: Metering,
    ) -> Result<Arc<dyn Handler>, LoadError> {
        let features = manifest.policy.features.clone().unwrap_or_default();
        let profile = Profile { features, is_metered: metering == Metering::On };
        let machine = self.0.machines.of(profile, &self.0.ticker);
        let machine = machine.map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
        let program = Program::load(self.clone(), machine, wasm, manifest).await?;
        Ok(Arc::new(program))
    }
}
