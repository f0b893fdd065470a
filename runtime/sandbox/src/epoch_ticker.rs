//! The ticker: one thread that advances the epoch each millisecond while any run goes on, so that every guest yields in time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use wasmtime::Engine;

/// The length of an epoch, and so of the longest slice a guest computes without yielding.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a run after which the thread rests. Waking it costs a run more than a tick costs the machine.
const IDLE_TICKS: u32 = 100;

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    engines: ArcSwap<Vec<Engine>>,
    holds: AtomicUsize,
    resting: AtomicBool,
    stop: AtomicBool,
}

/// Keeps the ticker going.
pub(super) struct Ticking<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared { engines: ArcSwap::from_pointee(vec![engine]), ..Shared::default() });
        let mine = shared.clone();
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || tick(&mine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Advances the epoch of `engine` too.
    pub(super) fn tick_too(&self, engine: &Engine) {
        self.shared.engines.rcu(|engines| engines.iter().chain([engine]).cloned().collect::<Vec<_>>());
    }

    /// Keeps the epoch going for as long as the guard lives.
    pub(super) fn hold(&self) -> Ticking<'_> {
        self.shared.holds.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        Ticking(self)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ticker").field("engines", &self.shared.engines.load().len()).finish_non_exhaustive()
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.shared.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It ends within a tick; it panics only if the engine does.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        thread::sleep(TICK);
        for engine in shared.engines.load().iter() {
            engine.increment_epoch();
        }
        idle = if shared.holds.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle >= IDLE_TICKS {
            rest(shared);
            idle = 0;
        }
    }
}

/// Sleeps until somebody holds the ticker or stops it. Announced first and checked after, so that no hold goes unseen.
fn rest(shared: &Shared) {
    shared.resting.store(true, Ordering::SeqCst);
    while shared.holds.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.resting.store(false, Ordering::SeqCst);
}
