//! Profiles of a single run: the stack of its guest is sampled at each tick of the epoch, when the guest yields anyway.
//!
//! This exists in debug mode only. Otherwise a run has no sampler, and a guest that yields runs no code of Capstan.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use capstan_core::usage::{Sampler, SamplerError, Usage};
use wasmtime::component::Component;
use wasmtime::{AsContext, Engine, GuestProfiler, Module, Store, UpdateDeadline};

use super::epoch_ticker::TICK;
use super::host::Host;
use super::link::Code;

/// How long the samples of one profile may take in total. This limits their memory as well, since a guest decides how deep its stack is.
const MAX_SAMPLING_TIME: Duration = Duration::from_secs(1);

/// Offers the sampler of a run until it is dropped.
#[derive(Debug)]
pub(super) struct ProfiledRun {
    sampler: Arc<RunSampler>,
    usage: Arc<Usage>,
}

/// The sampler of one run.
struct RunSampler {
    engine: Engine,
    /// The name of the program.
    name: String,
    program: SampledProgram,
    /// Whether samples are being taken. A run that nobody profiles reads nothing else.
    is_recording: AtomicBool,
    recording: Mutex<Option<Recording>>,
}

/// The code of the run, which names its functions.
enum SampledProgram {
    Module(Module),
    Component(Component),
}

/// A profile in progress.
struct Recording {
    profiler: GuestProfiler,
    /// How long its samples took so far.
    sampling_time: Duration,
    /// The CPU time of the run at the last sample, in nanoseconds.
    cpu_at_last_sample: u64,
}

impl ProfiledRun {
    /// Offers a sampler for a run of `code`, a program named `name`, in `usage`.
    pub(super) fn new(engine: &Engine, name: &str, code: &Code, usage: &Arc<Usage>) -> Self {
        let program = match code {
            Code::Module { pre, .. } => SampledProgram::Module(pre.module().clone()),
            Code::Component { component, .. } => SampledProgram::Component(component.clone()),
        };
        let sampler = Arc::new(RunSampler {
            engine: engine.clone(),
            name: name.to_owned(),
            program,
            is_recording: AtomicBool::new(false),
            recording: Mutex::new(None),
        });
        usage.sampler.set(sampler.clone());
        Self { sampler, usage: usage.clone() }
    }

    /// Samples the guest of `store` at each tick, before it yields.
    pub(super) fn attach_to(&self, store: &mut Store<Host>) {
        let (sampler, usage) = (self.sampler.clone(), self.usage.clone());
        store.epoch_deadline_callback(move |store| {
            if sampler.is_recording.load(Ordering::Relaxed) {
                sampler.sample(&store, usage.cpu.get());
            }
            Ok(UpdateDeadline::Yield(1))
        });
    }
}

impl Drop for ProfiledRun {
    fn drop(&mut self) {
        self.usage.sampler.clear();
    }
}

impl RunSampler {
    /// Records the stack of the guest, which has used `cpu` nanoseconds up to its last yield.
    fn sample(&self, store: impl AsContext, cpu: u64) {
        let mut recording = self.lock();
        let Some(recording) = recording.as_mut().filter(|recording| recording.sampling_time < MAX_SAMPLING_TIME) else {
            return;
        };
        let used = cpu.saturating_sub(std::mem::replace(&mut recording.cpu_at_last_sample, cpu));
        let started = Instant::now();
        recording.profiler.sample(store, Duration::from_nanos(used));
        recording.sampling_time += started.elapsed();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recording>> {
        self.recording.lock().expect("no panic while the lock is held")
    }
}

impl Sampler for RunSampler {
    fn begin(&self) -> Result<(), SamplerError> {
        let mut recording = self.lock();
        if recording.is_some() {
            return Err(SamplerError::AlreadyStarted);
        }
        let profiler = match &self.program {
            SampledProgram::Module(module) => {
                let module = (module.name().unwrap_or(&self.name).to_owned(), module.clone());
                GuestProfiler::new(&self.engine, &self.name, TICK, [module])
            }
            SampledProgram::Component(component) => {
                GuestProfiler::new_component(&self.engine, &self.name, TICK, component.clone(), [])
            }
        };
        let profiler = profiler.map_err(|error| SamplerError::Failed(format!("{error:#}")))?;
        *recording = Some(Recording { profiler, sampling_time: Duration::ZERO, cpu_at_last_sample: u64::MAX });
        drop(recording);
        self.is_recording.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn end(&self) -> Result<Vec<u8>, SamplerError> {
        self.is_recording.store(false, Ordering::Relaxed);
        let recording = self.lock().take().ok_or(SamplerError::NotStarted)?;
        let mut json = Vec::new();
        recording.profiler.finish(&mut json).map_err(|error| SamplerError::Failed(format!("{error:#}")))?;
        Ok(json)
    }

    fn abandon(&self) {
        self.is_recording.store(false, Ordering::Relaxed);
        self.lock().take();
    }
}

impl fmt::Debug for RunSampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RunSampler").field("name", &self.name).finish_non_exhaustive()
    }
}
