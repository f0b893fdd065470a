//! `wasi:clocks/monotonic-clock` 0.3: its sleeps advance the virtual clock of the guest when they are over.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::Accessor;
use wasmtime_wasi::HostMonotonicClock as _;
use wasmtime_wasi::p3::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p3::bindings::clocks::types;

use super::monotonic_clock::{HasMonotonicClock, MonotonicClockView};

impl monotonic_clock::Host for MonotonicClockView<'_> {
    fn now(&mut self) -> Result<u64> {
        monotonic_clock::Host::now(&mut self.clocks)
    }

    fn get_resolution(&mut self) -> Result<types::Duration> {
        monotonic_clock::Host::get_resolution(&mut self.clocks)
    }
}

impl<U> monotonic_clock::HostWithStore<U> for HasMonotonicClock {
    async fn wait_until(store: &Accessor<U, Self>, when: u64) -> Result<()> {
        let now = store.with(|mut access| monotonic_clock::Host::now(&mut access.get()))?;
        sleep(store, when.saturating_sub(now)).await;
        Ok(())
    }

    async fn wait_for(store: &Accessor<U, Self>, duration: types::Duration) -> Result<()> {
        sleep(store, duration).await;
        Ok(())
    }
}

/// Waits for `nanos` nanoseconds, and then advances the virtual clock, if there is one.
async fn sleep<U>(store: &Accessor<U, HasMonotonicClock>, nanos: u64) {
    let virtual_end = store.with(|mut access| {
        let clock = access.get().virtual_clock?;
        let end = clock.now().saturating_add(nanos);
        Some((clock, end))
    });
    if nanos > 0 {
        tokio::time::sleep(Duration::from_nanos(nanos)).await;
    }
    if let Some((clock, end)) = virtual_end {
        clock.advance_to(end);
    }
}
