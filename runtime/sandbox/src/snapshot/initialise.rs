//! [`Initialiser`]: runs the initialisation of a program, and writes the image of its memory.
//!
//! It is a run like any other: in the sandbox, on the threads of guests, with all limits. It has fewer rights than any run: no environment, no
//! stdin, no files, no network. Its clock stands still, so that no run finds a time in its memory that is later than its own.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capstan_core::determinism::Clock;
use capstan_core::limits::{Limits, Overflow};
use capstan_core::manifest::Manifest;
use capstan_core::outcome::Outcome;
use capstan_core::snapshot::{Snapshot, SnapshotRandom};
use capstan_core::stream::Tail;
use capstan_engine::handler::Call;
use capstan_engine::handler_store::SnapshotError;
use jiff::Timestamp;
use wasmtime::{Instance, InstancePre, Result, Store};

use super::rewrite::INIT_NAMES;
use super::{fingerprint, image};
use crate::LoadError;
use crate::artifact::Compiled;
use crate::compiled_program::CompiledProgram;
use crate::engines::ProfileEngine;
use crate::guest_runtime::{CpuBudget, ShortRunStreak};
use crate::host::Host;
use crate::run_context::RunContext;
use crate::{random, stdio, trap};

/// The most CPU time of an initialisation. CPython takes a tenth of a second.
const MAX_CPU: Duration = Duration::from_secs(10);
/// The longest that an initialisation may take. A busy machine is no fault of the program.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of each output stream. What exceeds them is dropped.
const MAX_OUTPUT: u64 = 1 << 20;
/// What the monotonic clock of an initialisation shows. The runtime of Go does not start if it is 0.
const MONOTONIC_NANOS: u64 = 1;
/// How much of its output an error repeats.
const OUTPUT_LINES: usize = 20;
const OUTPUT_BYTES: usize = 4096;
/// The program name of an initialisation, unless a manifest sets one. All handlers with the same program share the snapshot, so it is not the name
/// of one.
const DEFAULT_ARGV0: &str = "snapshot";

/// Initialises programs.
#[derive(Clone, Debug)]
pub(crate) struct Initialiser {
    settings: Snapshot,
    context: Arc<RunContext>,
    /// The program name of the initialisation.
    argv0: String,
    /// The most memory that the program may have, in bytes.
    memory: u64,
    /// The most CPU time that it may use.
    cpu: Duration,
}

impl Initialiser {
    /// Creates the initialiser for a program with `manifest`, or returns `None` if the manifest asks for no snapshot. The program may have
    /// `max_memory` bytes of memory.
    pub(crate) fn new(manifest: &Manifest, context: &Arc<RunContext>, max_memory: u64) -> Option<Self> {
        let policy = &manifest.policy;
        Some(Self {
            settings: manifest.snapshot.clone()?,
            context: context.clone(),
            argv0: argv0(manifest).to_owned(),
            memory: policy.memory.unwrap_or(max_memory).min(max_memory),
            cpu: policy.cpu.unwrap_or(MAX_CPU).min(MAX_CPU),
        })
    }

    /// Returns what follows the fingerprint of the engine in that of the code: nothing without a snapshot.
    pub(crate) fn suffix(initialiser: Option<&Self>) -> String {
        initialiser.map(|own| fingerprint::suffix(&own.settings, &own.argv0)).unwrap_or_default()
    }

    /// Initialises the instrumented program `compiled` and appends its image to `file`. Returns the last lines of its output.
    ///
    /// Cancel-safe: dropping the future stops the guest.
    ///
    /// # Errors
    /// [`LoadError::Snapshot`] if the initialisation fails, and [`LoadError::UnknownImports`].
    pub(crate) async fn run(
        &self,
        CompiledProgram { engine, artifact }: &CompiledProgram,
        file: File,
    ) -> Result<String, LoadError> {
        let Compiled::Module(module) = artifact.load(&engine.engine)? else {
            return Err(SnapshotError::Unsupported("it is a component".to_owned()).into());
        };
        let linker = engine.linkers.modules().map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
        let pre =
            linker.instantiate_pre(&module).map_err(|error| LoadError::UnknownImports(vec![format!("{error:#}")]))?;

        let output = Tail::new(OUTPUT_LINES, OUTPUT_BYTES);
        let call = self.call(&output);
        let (stop, uses_random) = (call.stop.clone(), Arc::new(AtomicBool::new(false)));
        let budget = CpuBudget { limit: call.limits.cpu, usage: call.usage.clone(), stop };
        let image = Arc::new(Mutex::new(Some(file)));
        let work =
            Box::pin(initialise(self.context.clone(), engine.clone(), pre, call, uses_random.clone(), image.clone()));
        let streak = ShortRunStreak::default();
        let run = self.context.guest_runtime.run(work, budget, &streak);
        let outcome = tokio::time::timeout(TIMEOUT, run).await;
        let outcome = outcome.unwrap_or(Outcome::TimedOut { limit: TIMEOUT.as_secs_f64() });

        // Also if it failed: without random bytes it may have failed because of them.
        if self.settings.random == SnapshotRandom::Refused && uses_random.load(Ordering::Relaxed) {
            return Err(SnapshotError::Random.into());
        }
        let is_written = image.lock().expect("no panic while the lock is held").is_none();
        match outcome {
            Outcome::Exited { code: 0 } if is_written => Ok(output.text()),
            outcome => Err(SnapshotError::Failed { reason: explain(&outcome), output: output.text() }.into()),
        }
    }

    fn call(&self, output: &Tail) -> Call {
        let limits = Limits {
            cpu: Some(self.cpu),
            timeout: TIMEOUT,
            memory: self.memory,
            stdout: MAX_OUTPUT,
            stderr: MAX_OUTPUT,
            output: Overflow::Truncate,
            clock: Clock::Fixed(Timestamp::UNIX_EPOCH),
            ..Limits::default()
        };
        let args = self.settings.args.clone();
        let name = self.argv0.clone();
        Call { name, args, stdout: output.sink(), stderr: output.sink(), limits, ..Call::empty() }
    }
}

/// Returns the program name of the initialisation of a program with `manifest`.
fn argv0(manifest: &Manifest) -> &str {
    manifest.argv0.as_deref().unwrap_or(DEFAULT_ARGV0)
}

/// Initialises an instance of `pre` and writes its state to the file in `image`, which it takes if it succeeds.
async fn initialise(
    context: Arc<RunContext>,
    engine: Arc<ProfileEngine>,
    pre: InstancePre<Host>,
    call: Call,
    uses_random: Arc<AtomicBool>,
    image: Arc<Mutex<Option<File>>>,
) -> Outcome {
    let (stop, hostcall) = (call.stop.clone(), call.limits.hostcall);
    let host = match Host::with_random(call, None, |wasi| random::observe(wasi, uses_random)) {
        Ok(host) => host,
        Err(error) => return Outcome::HostError { message: format!("cannot set up WASI: {error:#}") },
    };
    if let Some(clock) = &host.virtual_clock {
        clock.advance_to(MONOTONIC_NANOS);
    }
    let outputs = [host.stdout.clone(), host.stderr.clone()];
    let _hold = context.ticker.hold();
    let mut store = host.into_store(&engine.engine, hostcall);
    if engine.profile.is_metered {
        // The limit on CPU time holds. Fuel counts what a run does.
        store.set_fuel(u64::MAX).expect("the code of this engine counts fuel");
    }
    let finish = async {
        let initialised = call_init(&pre, &mut store).await;
        for output in &outputs {
            output.drained().await;
        }
        initialised
    };
    let initialised = tokio::select! {
        biased;
        initialised = stdio::flush_at_pauses(&outputs, finish) => initialised,
        outcome = stop.requested() => return outcome,
    };
    let instance = match initialised {
        Ok(instance) => instance,
        Err(error) => return trap::outcome(&error, None, store.data().limiter()),
    };
    let mut file = image.lock().expect("no panic while the lock is held");
    match file.as_mut().map(|file| image::write(file, &instance, &mut store)) {
        Some(Ok(())) => *file = None,
        Some(Err(error)) => return Outcome::HostError { message: format!("cannot write the image: {error}") },
        None => {}
    }
    Outcome::SUCCESS
}

/// Instantiates `pre` and calls its functions that initialise: that of a reactor, and that of the snapshot. wasmtime-wizer removes both exports.
async fn call_init(pre: &InstancePre<Host>, store: &mut Store<Host>) -> Result<Instance> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let init = INIT_NAMES.into_iter().find(|name| instance.get_func(&mut *store, name).is_some());
    for name in ["_initialize"].into_iter().chain(init) {
        if let Some(function) = instance.get_func(&mut *store, name) {
            function.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await?;
        }
    }
    Ok(instance)
}

/// Says why an initialisation that ended with `outcome` failed.
fn explain(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("it exited with code {code}; it must return to be continued in each run"),
        outcome => outcome.to_string(),
    }
}
