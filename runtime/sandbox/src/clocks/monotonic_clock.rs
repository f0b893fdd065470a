//! `wasi:clocks/monotonic-clock` 0.2, and the view that 0.3 shares with it: sleeps advance the virtual clock of the guest when they are over.

use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::HostMonotonicClock as _;
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as MonotonicHost;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::VirtualClock;
use crate::host::Host;

/// Names [`MonotonicClockView`] to a linker.
pub(crate) struct HasMonotonicClock;

/// The monotonic clock of one guest.
pub(crate) struct MonotonicClockView<'a> {
    pub(super) clocks: WasiClocksCtxView<'a>,
    /// `None` if the guest has a clock of the host.
    pub(super) virtual_clock: Option<VirtualClock>,
}

/// A sleep of a guest with a virtual clock.
struct Sleep {
    clock: VirtualClock,
    /// The end of the sleep on the virtual clock.
    virtual_deadline: u64,
    /// The same on the clock of the host. `None` if it is too far in the future to be represented.
    deadline: Option<Instant>,
    /// Whether the sleep yielded once: a guest that sleeps for no time in a loop must not starve other guests.
    has_yielded: bool,
}

impl HasData for HasMonotonicClock {
    type Data<'a> = MonotonicClockView<'a>;
}

impl HasMonotonicClock {
    /// Returns the view for a call of a guest.
    pub(crate) fn from_host(host: &mut Host) -> MonotonicClockView<'_> {
        let virtual_clock = host.virtual_clock.clone();
        MonotonicClockView { clocks: host.clocks(), virtual_clock }
    }
}

impl MonotonicHost for MonotonicClockView<'_> {
    fn now(&mut self) -> Result<u64> {
        self.clocks.now()
    }

    fn resolution(&mut self) -> Result<u64> {
        self.clocks.resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        match &self.virtual_clock {
            None => self.clocks.subscribe_instant(when),
            Some(clock) => {
                let duration = when.saturating_sub(clock.now());
                self.subscribe_duration(duration)
            }
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        let Some(clock) = self.virtual_clock.clone() else { return self.clocks.subscribe_duration(duration) };
        let virtual_deadline = clock.now().saturating_add(duration);
        let deadline = Instant::now().checked_add(Duration::from_nanos(duration));
        let sleep = self.clocks.table.push(Sleep { clock, virtual_deadline, deadline, has_yielded: false })?;
        subscribe(self.clocks.table, sleep)
    }
}

#[async_trait::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        if !std::mem::replace(&mut self.has_yielded, true) {
            tokio::task::yield_now().await;
        }
        self.clock.advance_to(self.virtual_deadline);
    }
}
