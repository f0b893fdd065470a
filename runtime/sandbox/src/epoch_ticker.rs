//! [`EpochTicker`]: a thread that advances the epoch of all engines each millisecond while a run is in progress, so that every guest yields
//! in time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use wasmtime::Engine;

/// The length of an epoch, which is the longest time that a guest computes without yielding.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a run after which the thread parks. Waking it costs a run more than a tick costs the machine.
const MAX_IDLE_TICKS: u32 = 100;

/// Owns the thread. Dropping it ends the thread.
pub(super) struct EpochTicker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    engines: ArcSwap<Vec<Engine>>,
    /// How many guards keep the ticker active.
    holds: AtomicUsize,
    is_parked: AtomicBool,
    is_stopped: AtomicBool,
}

/// Keeps the ticker active until it is dropped.
pub(super) struct TickerHold<'a>(&'a EpochTicker);

impl EpochTicker {
    /// Starts the thread, which advances the epoch of `engine`.
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared { engines: ArcSwap::from_pointee(vec![engine]), ..Shared::default() });
        let of_thread = shared.clone();
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || tick(&of_thread))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Advances the epoch of `engine` too from now on.
    pub(super) fn add_engine(&self, engine: &Engine) {
        self.shared.engines.rcu(|engines| engines.iter().chain([engine]).cloned().collect::<Vec<_>>());
    }

    /// Keeps the ticker active, and wakes it if it is parked, until the guard is dropped.
    pub(super) fn hold(&self) -> TickerHold<'_> {
        self.shared.holds.fetch_add(1, Ordering::SeqCst);
        if self.shared.is_parked.load(Ordering::SeqCst) {
            self.wake();
        }
        TickerHold(self)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl std::fmt::Debug for EpochTicker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EpochTicker")
            .field("engines", &self.shared.engines.load().len())
            .finish_non_exhaustive()
    }
}

impl Drop for TickerHold<'_> {
    fn drop(&mut self) {
        self.0.shared.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread ends within a tick. It panics only if wasmtime does.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared) {
    let mut idle_ticks = 0;
    while !shared.is_stopped.load(Ordering::SeqCst) {
        thread::sleep(TICK);
        for engine in shared.engines.load().iter() {
            engine.increment_epoch();
        }
        idle_ticks = if shared.holds.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
        if idle_ticks >= MAX_IDLE_TICKS {
            park(shared);
            idle_ticks = 0;
        }
    }
}

/// Parks the thread until the ticker is held or stopped. `is_parked` is set before `holds` is checked, so that no hold is missed.
fn park(shared: &Shared) {
    shared.is_parked.store(true, Ordering::SeqCst);
    while shared.holds.load(Ordering::SeqCst) == 0 && !shared.is_stopped.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.is_parked.store(false, Ordering::SeqCst);
}
