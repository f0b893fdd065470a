//! [`VirtualClock`]: a monotonic clock that advances only when the guest sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime_wasi::HostMonotonicClock;

/// The monotonic clock of a guest whose wall clock is fixed. It counts the nanoseconds that the guest has slept. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock {
    nanos: Arc<AtomicU64>,
    /// The time of the fixed wall clock, in nanoseconds since 1970.
    pub(super) wall_nanos: u64,
}

impl VirtualClock {
    /// Creates the clock at 0, beside a wall clock that is fixed at `wall_nanos` nanoseconds since 1970.
    pub(super) fn new(wall_nanos: u64) -> Self {
        Self { nanos: Arc::default(), wall_nanos }
    }

    /// Advances the clock to `instant`, because a sleep until then is over. Does nothing if it is later already.
    pub(crate) fn advance_to(&self, instant: u64) {
        self.nanos.fetch_max(instant, Ordering::Relaxed);
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}
