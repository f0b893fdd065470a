//! The clocks of a guest whose policy does not grant those of the host: coarse clocks and fixed ones.
//!
//! A fixed clock is a wall clock that always shows the same instant, and a [`VirtualClock`] as the monotonic clock, which starts at 0 and
//! advances by the time that the guest sleeps. wasmtime-wasi asks a clock for the time, but does not tell it that a sleep is over. So Capstan
//! implements the calls that sleep: for preview 1 in [`poll_oneoff`](mod@poll_oneoff),
//! for 0.2 in [`HasMonotonicClock`], for 0.3 in [`preview3`].

mod monotonic_clock;
mod poll_oneoff;
mod preview3;
mod virtual_clock;

use std::time::{Duration, SystemTime};

use capstan_core::determinism::Clock;
use jiff::Timestamp;
use wasmtime_wasi::clocks::{MonotonicClock, WallClock};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

pub(super) use self::monotonic_clock::HasMonotonicClock;
pub(super) use self::poll_oneoff::poll_oneoff;
pub(super) use self::virtual_clock::VirtualClock;

/// The resolution of coarse clocks.
const COARSE_RESOLUTION: Duration = Duration::from_millis(1);
const COARSE_RESOLUTION_NANOS: u64 = 1_000_000;

struct CoarseWallClock(WallClock);
struct CoarseMonotonicClock(MonotonicClock);

/// Always shows the same time, as a duration since 1970.
struct FixedWallClock(Duration);

/// Makes `wasi` use `clock`. Returns the virtual clock if the clock is fixed.
pub(super) fn configure(wasi: &mut WasiCtxBuilder, clock: Clock) -> Option<VirtualClock> {
    match clock {
        Clock::Real => None,
        Clock::Coarse => {
            wasi.wall_clock(CoarseWallClock(WallClock::new()))
                .monotonic_clock(CoarseMonotonicClock(MonotonicClock::new()));
            None
        }
        Clock::Fixed(instant) => {
            let since_1970 = since_1970(instant);
            let wall_nanos = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
            let virtual_clock = VirtualClock::new(wall_nanos);
            wasi.wall_clock(FixedWallClock(since_1970)).monotonic_clock(virtual_clock.clone());
            Some(virtual_clock)
        }
    }
}

fn since_1970(instant: Timestamp) -> Duration {
    // WASI cannot represent an earlier instant.
    SystemTime::from(instant).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl HostWallClock for FixedWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        COARSE_RESOLUTION
    }

    fn now(&self) -> Duration {
        let now = self.0.now();
        now - Duration::from_nanos(u64::from(now.subsec_nanos()) % COARSE_RESOLUTION_NANOS)
    }
}

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        COARSE_RESOLUTION_NANOS
    }

    fn now(&self) -> u64 {
        let now = self.0.now();
        now - now % COARSE_RESOLUTION_NANOS
    }
}
