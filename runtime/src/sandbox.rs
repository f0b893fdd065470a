//! The sandbox: where wasm programs are loaded and run, through one narrow boundary.
//!
//! Three tempos, and each function here belongs to one. *Start*: [`Sandbox::new`] builds the `wasmtime::Engine` of the default profile, its
//! linkers, the guest runtime and the ticker. *Load*: [`Sandbox::load`] compiles in a child, checks and pre-links; the first of a further
//! profile builds the engine of that too. *Run*: the handler that a load
//! returns makes a fresh store and instance for each call. Nothing compiles, links or looks up configuration in a run.
//!
//! Deny by default: a guest sees its arguments, its `Env`, its three streams, clocks and random numbers; no directory but the mounts
//! that were handed in, nothing of the network but what it was granted, nothing of the daemon's environment.

mod artifact;
mod chance;
mod clocks;
mod compile;
pub mod compile_child;
mod disk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod guests;
mod host;
mod limiter;
mod linkers;
mod machine;
mod network;
mod open_files;
mod profile;
mod program;
mod run;
mod scratch;
mod shape;
mod stdio;
mod strokes;
mod ticker;
mod trap;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use self::compile::{CompileLimits, confined_compiler};
use self::compile::{Compiler, Compiles};
use self::guests::Guests;
use self::machine::Machines;
pub use self::network::{Resolve, Resolver};
use self::profile::Profile;
pub use self::profile::{DEFAULT_STACK, WASMTIME_VERSION, runs_within};
use self::program::Program;
pub use self::scratch::scratch_folder;
use self::ticker::Ticker;
use crate::confine;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::store::Artifacts;
use crate::tasks::{Note, Tasks};

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
    pub confine: confine::Mode,
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

/// Why a program was not loaded. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadError {
    #[error("not WebAssembly: {0}")]
    NotWasm(String),
    #[error("WebAssembly in text form; turn it into binary first (the `capstan` command does)")]
    TextFormat,
    #[error("precompiled code is never loaded; push the wasm it was made from")]
    Precompiled,
    #[error("invalid module: {message}{}", at(*.offset))]
    Invalid { message: String, offset: Option<usize> },
    #[error("the module uses a feature that is off here: {0}")]
    FeatureDisabled(String),
    #[error("the module is too complex: {0}")]
    TooComplex(String),
    #[error("the module imports what Capstan does not offer: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("not a command: {0}")]
    NotACommand(String),
    #[error("compiling the module took more than it may: {0}")]
    CompileLimit(String),
    #[error("cannot compile now: {0}")]
    Unavailable(String),
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

fn at(offset: Option<usize>) -> String {
    offset.map(|offset| format!(" (at byte {offset:#x})")).unwrap_or_default()
}

/// Loads and runs programs; clones are the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    machines: Machines,
    compiler: Compiler,
    guests: Guests,
    resolver: Resolver,
    ticker: Ticker,
    /// Whether runs can be profiled.
    is_watched: bool,
    _notes: [Option<Note>; 2],
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
            tasks.note("sandbox", || "ticker of the epoch".to_owned()),
            tasks.note("sandbox", || format!("{} guest threads", guests.threads())),
        ];
        let compiler = Compiler::new(&machines.default().fingerprint, config);
        let is_watched = tasks.are_noted();
        Ok(Self(Arc::new(Inner { machines, compiler, guests, resolver, ticker, is_watched, _notes: notes })))
    }

    /// How compiling goes.
    pub(crate) fn compiles(&self) -> Compiles {
        self.0.compiler.compiles()
    }

    /// Slots of each pool that runs use now; those of further profiles have none.
    pub(crate) fn slots_used(&self) -> [(&'static str, usize); 5] {
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
