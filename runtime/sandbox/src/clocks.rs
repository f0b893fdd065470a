//! The clocks of a guest that does not get the host's as they are.
//!
//! A clock that stands is two: the wall clock, at its instant, and one that begins at 0 and moves by what the guest has slept. The
//! library's own clocks are asked for the time, but not told that a sleep is over; so the calls that sleep are ours: for preview 1 in
//! [`poll_oneoff`], for 0.2 in [`Clocks`].

mod alarms;
mod sleep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use capstan_core::determinism::Clock;
use jiff::Timestamp;
use wasmtime_wasi::clocks::{MonotonicClock, WallClock};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

pub(super) use self::alarms::poll_oneoff;
pub(super) use self::sleep::Clocks;

/// The step of coarse clocks.
const COARSE: Duration = Duration::from_millis(1);
const COARSE_NANOS: u64 = 1_000_000;

/// The clock of a guest whose wall clock stands: nanoseconds that it has slept. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Slept {
    nanos: Arc<AtomicU64>,
    /// Where the wall clock stands, in nanoseconds since 1970.
    standing: u64,
}

struct CoarseWall(WallClock);
struct CoarseMonotonic(MonotonicClock);
struct Standing(Duration);

/// Has `wasi` answer from `clock`; gives what is to be told of sleeps, if anything is.
pub(super) fn set(wasi: &mut WasiCtxBuilder, clock: Clock) -> Option<Slept> {
    match clock {
        Clock::Real => None,
        Clock::Coarse => {
            wasi.wall_clock(CoarseWall(WallClock::new())).monotonic_clock(CoarseMonotonic(MonotonicClock::new()));
            None
        }
        Clock::Fixed(instant) => {
            let since_1970 = since_1970(instant);
            let standing = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
            let slept = Slept { nanos: Arc::default(), standing };
            wasi.wall_clock(Standing(since_1970)).monotonic_clock(slept.clone());
            Some(slept)
        }
    }
}

fn since_1970(instant: Timestamp) -> Duration {
    // No instant before then is a clock.
    SystemTime::from(instant).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Slept {
    /// A sleep until `instant` is over.
    fn until(&self, instant: u64) {
        self.nanos.fetch_max(instant, Ordering::Relaxed);
    }
}

impl HostMonotonicClock for Slept {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        COARSE
    }

    fn now(&self) -> Duration {
        let now = self.0.now();
        now - Duration::from_nanos(u64::from(now.subsec_nanos()) % COARSE_NANOS)
    }
}

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        COARSE_NANOS
    }

    fn now(&self) -> u64 {
        let now = self.0.now();
        now - now % COARSE_NANOS
    }
}
