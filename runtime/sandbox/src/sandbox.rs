//! [`Sandbox`]: loads programs.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::feature::{Feature, Features};
use capstan_core::manifest::Manifest;
use capstan_engine::handler::Handler;
use capstan_engine::handler_store::LoadError;
use capstan_store::ProgramSummary;

use crate::compile::{CompileStats, Compiler, Wanted};
use crate::config::Config;
use crate::engines::ProfileEngines;
use crate::epoch_ticker::EpochTicker;
use crate::guest_runtime::GuestRuntime;
use crate::http::{IdleConnections, IdleCount};
use crate::profile::{self, Metering, Profile};
use crate::program::Program;
use crate::run_context::RunContext;
use crate::shared_programs::SharedPrograms;

/// Loads programs as handlers, which run in it. Clones are the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engines: ProfileEngines,
    compiler: Compiler,
    context: Arc<RunContext>,
}

/// Why the sandbox could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot create the WebAssembly engine: {0}")]
    Engine(String),
    #[error("cannot start the threads that run guests")]
    Threads(#[source] std::io::Error),
}

impl Sandbox {
    /// Creates the sandbox. The daemon does this once, at startup. It reserves address space for all runs that may be in progress at a
    /// time, but no memory.
    ///
    /// # Errors
    /// [`SandboxError`] if the kernel does not provide the address space or the threads.
    pub fn new(config: Config) -> Result<Self, SandboxError> {
        // A guest that exits does so by an error, and with RUST_BACKTRACE=1 each error would capture where in the host it was made, which takes
        // longer than a short run. Backtraces of guests and of panics are not affected.
        wasmtime::error::disable_backtrace();
        let engine = profile::pooling_engine(&config).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Arc::new(EpochTicker::start(engine.clone()).map_err(SandboxError::Threads)?);
        let engines = ProfileEngines::new(engine, config.stack, ticker.clone());
        let guest_runtime = GuestRuntime::start().map_err(SandboxError::Threads)?;
        let (tasks, resolver, roots) = (config.tasks.clone(), config.resolver.clone(), config.roots.clone());
        let idle_connections = IdleConnections::default();
        let listed = [
            tasks.track("sandbox", || "ticker of the epoch".to_owned()),
            tasks.track("sandbox", || format!("{} guest threads", guest_runtime.thread_count())),
        ];
        let compiler = Compiler::new(&engines.default().fingerprint, config);
        let can_profile = tasks.are_tracked();
        let programs = SharedPrograms::default();
        let idle_instances = IdleCount::default();
        let context = Arc::new(RunContext {
            guest_runtime,
            resolver,
            roots,
            idle_connections,
            ticker,
            programs,
            idle_instances,
            can_profile,
            _listed: listed,
        });
        Ok(Self(Arc::new(Inner { engines, compiler, context })))
    }

    /// Returns how many compilers are running, and how loads ended so far.
    pub fn compile_stats(&self) -> CompileStats {
        self.0.compiler.stats()
    }

    /// Returns how many slots of each pool are in use. Only the default profile has pools.
    pub fn slots_used(&self) -> [(&'static str, usize); 5] {
        profile::slots_used(&self.0.engines.default().engine)
    }

    /// Loads the program `wasm`, which may use the features that `manifest` names, or [`Feature::allowed_by_default`] if it names none: compiles it
    /// in a child process, unless its code is stored, and checks and links it.
    ///
    /// Cancel-safe: dropping the future kills the child process, unless other loads wait for the same program.
    ///
    /// # Errors
    /// [`LoadError::Unavailable`] if the sandbox is at fault. All other errors are faults of the program.
    pub async fn load(
        &self,
        wasm: Bytes,
        manifest: Manifest,
        metering: Metering,
    ) -> Result<Arc<dyn Handler>, LoadError> {
        let Inner { engines, compiler, context } = &*self.0;
        let allowed = allowed_features(&manifest);
        let wanted = Wanted { allowed: &allowed, is_metered: metering == Metering::On, snapshot: None };
        let program = Program::load(compiler, engines, context.clone(), wasm, manifest, wanted).await?;
        Ok(Arc::new(program))
    }

    /// Loads the program `summary`, as [`Sandbox::load`] does, if its code is stored and it may use its features. Returns `None` otherwise: then
    /// load the program itself.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Sandbox::load`].
    pub async fn load_stored(
        &self,
        summary: ProgramSummary,
        manifest: Manifest,
        metering: Metering,
    ) -> Result<Option<Arc<dyn Handler>>, LoadError> {
        if !summary.features.is_subset(&allowed_features(&manifest)) {
            return Ok(None);
        }
        let Inner { engines, compiler, context } = &*self.0;
        let profile = Profile { features: summary.features.clone(), is_metered: metering == Metering::On };
        let engine = engines.get_or_create(profile);
        let engine = engine.map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
        let program = Program::load_stored(compiler, context.clone(), engine, summary, manifest).await?;
        Ok(program.map(|program| Arc::new(program) as Arc<dyn Handler>))
    }
}

fn allowed_features(manifest: &Manifest) -> Features {
    manifest.policy.features.clone().unwrap_or_else(Feature::allowed_by_default)
}
