//! A run that can be profiled: what its guest is in is noted at each tick of the epoch, where it would yield anyway.
//!
//! Only in debug mode. Elsewhere a run has nothing of it, and a guest that yields runs no code of ours.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use capstan_core::usage::{Sampler, SamplerError, Usage};
use wasmtime::component::Component;
use wasmtime::{AsContext, Engine, GuestProfiler, Module, Store, UpdateDeadline};

use super::epoch_ticker::TICK;
use super::host::Host;
use super::program::Code;

/// Time that may be spent on the samples of one profile. It bounds the memory too: a guest decides how deep its stack is.
const MOST_SPENT: Duration = Duration::from_secs(1);

/// A run whose sampler is offered until this is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    watch: Arc<Watch>,
    usage: Arc<Usage>,
}

/// The sampler of one run.
struct Watch {
    engine: Engine,
    name: String,
    program: Watchable,
    /// Whether samples are wanted: all that a run that nobody profiles looks at.
    is_wanted: AtomicBool,
    taken: Mutex<Option<Taken>>,
}

/// The program of the run.
enum Watchable {
    Module(Module),
    Component(Component),
}

/// A profile that is being taken.
struct Taken {
    profiler: GuestProfiler,
    /// Time that its samples took.
    spent: Duration,
    /// Processor time of the run at its last sample, in nanoseconds.
    cpu: u64,
}

impl Watched {
    /// Offers to sample a run of `code`, which is called `name`.
    pub(super) fn new(engine: &Engine, name: &str, code: &Code, usage: &Arc<Usage>) -> Self {
        let program = match code {
            Code::Module { pre, .. } => Watchable::Module(pre.module().clone()),
            Code::Component { component, .. } => Watchable::Component(component.clone()),
        };
        let watch = Arc::new(Watch {
            engine: engine.clone(),
            name: name.to_owned(),
            program,
            is_wanted: AtomicBool::new(false),
            taken: Mutex::new(None),
        });
        usage.sampler.set(watch.clone());
        Self { watch, usage: usage.clone() }
    }

    /// Has the guest of `store` sampled at each tick, before it yields.
    pub(super) fn attach_to(&self, store: &mut Store<Host>) {
        let (watch, usage) = (self.watch.clone(), self.usage.clone());
        store.epoch_deadline_callback(move |store| {
            if watch.is_wanted.load(Ordering::Relaxed) {
                watch.sample(&store, usage.cpu.get());
            }
            Ok(UpdateDeadline::Yield(1))
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.usage.sampler.clear();
    }
}

impl Watch {
    /// Notes the stack of the guest, which has used `cpu` nanoseconds up to its last yield.
    fn sample(&self, store: impl AsContext, cpu: u64) {
        let mut taken = self.lock();
        let Some(taken) = taken.as_mut().filter(|taken| taken.spent < MOST_SPENT) else { return };
        let used = Duration::from_nanos(cpu.saturating_sub(std::mem::replace(&mut taken.cpu, cpu)));
        let begun = Instant::now();
        taken.profiler.sample(store, used);
        taken.spent += begun.elapsed();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().expect("no panic while the lock is held")
    }
}

impl Sampler for Watch {
    fn start(&self) -> Result<(), SamplerError> {
        let mut taken = self.lock();
        if taken.is_some() {
            return Err(SamplerError::AlreadyStarted);
        }
        let profiler = match &self.program {
            Watchable::Module(module) => {
                let named = (module.name().unwrap_or(&self.name).to_owned(), module.clone());
                GuestProfiler::new(&self.engine, &self.name, TICK, [named])
            }
            Watchable::Component(component) => {
                GuestProfiler::new_component(&self.engine, &self.name, TICK, component.clone(), [])
            }
        };
        let profiler = profiler.map_err(|error| SamplerError::Failed(format!("{error:#}")))?;
        *taken = Some(Taken { profiler, spent: Duration::ZERO, cpu: u64::MAX });
        drop(taken);
        self.is_wanted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self) -> Result<Vec<u8>, SamplerError> {
        self.is_wanted.store(false, Ordering::Relaxed);
        let taken = self.lock().take().ok_or(SamplerError::NotStarted)?;
        let mut json = Vec::new();
        taken.profiler.finish(&mut json).map_err(|error| SamplerError::Failed(format!("{error:#}")))?;
        Ok(json)
    }

    fn cancel(&self) {
        self.is_wanted.store(false, Ordering::Relaxed);
        self.lock().take();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").field("name", &self.name).finish_non_exhaustive()
    }
}
