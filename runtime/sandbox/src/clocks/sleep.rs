//! Sleeping under 0.2: a pollable that tells the guest's clock when it is over.

use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::HostMonotonicClock as _;
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as MonotonicHost;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::Slept;
use crate::host::Host;

/// Names [`View`] to the linker.
pub(crate) struct Clocks;

/// `wasi:clocks/monotonic-clock` of one guest.
pub(crate) struct View<'a> {
    clocks: WasiClocksCtxView<'a>,
    slept: Option<Slept>,
}

/// A sleep until `until` of the guest's own clock.
struct Sleep {
    slept: Slept,
    until: u64,
    /// When that is; never, where it is too far away to be told.
    deadline: Option<Instant>,
    /// Whether others had their turn: a guest that polls without a sleep must not starve them.
    has_yielded: bool,
}

impl HasData for Clocks {
    type Data<'a> = View<'a>;
}

impl Clocks {
    pub(crate) fn of(host: &mut Host) -> View<'_> {
        let slept = host.slept.clone();
        View { clocks: host.clocks(), slept }
    }
}

impl MonotonicHost for View<'_> {
    fn now(&mut self) -> Result<u64> {
        self.clocks.now()
    }

    fn resolution(&mut self) -> Result<u64> {
        self.clocks.resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        match &self.slept {
            None => self.clocks.subscribe_instant(when),
            Some(slept) => {
                let duration = when.saturating_sub(slept.now());
                self.subscribe_duration(duration)
            }
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        let Some(slept) = self.slept.clone() else { return self.clocks.subscribe_duration(duration) };
        let until = slept.now().saturating_add(duration);
        let deadline = Instant::now().checked_add(Duration::from_nanos(duration));
        let sleep = self.clocks.table.push(Sleep { slept, until, deadline, has_yielded: false })?;
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
        self.slept.until(self.until);
    }
}
