//! [`poll_oneoff`] of preview 1, which advances the virtual clock of the guest when a sleep is over.

use wasmtime::component::ResourceTableError;
use wasmtime::{AsContextMut as _, Caller, Result};
use wasmtime_wasi::HostMonotonicClock as _;
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

use super::VirtualClock;
use crate::host::{Host, exported_memory};

/// Bytes of a subscription and of an event in the layout of preview 1.
const SUBSCRIPTION_SIZE: usize = 48;
const EVENT_SIZE: usize = 32;
/// The type of events and subscriptions of clocks.
const CLOCK: u8 = 0;
/// The flag of a subscription whose timeout is an instant and not a duration.
const IS_ABSOLUTE: u16 = 1;
/// The identifier of the monotonic clock.
const MONOTONIC: u32 = 1;

/// A sleep that the guest requested.
struct Timer {
    /// What identifies the subscription in the event.
    userdata: u64,
    /// The end of the sleep on the virtual clock.
    deadline: u64,
}

/// Calls `poll_oneoff` of wasmtime-wasi, and then advances the virtual clock, if there is one, to the earliest timer that fired.
pub(crate) async fn poll_oneoff(
    mut caller: Caller<'_, Host>,
    subscriptions: i32,
    events: i32,
    count: i32,
    event_count: i32,
) -> Result<i32> {
    let memory = exported_memory(&mut caller)?;
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    host.wasi.set_hostcall_fuel(fuel);
    let clock = host.virtual_clock.clone();
    let timers = clock.as_ref().map(|clock| {
        let listed = at(bytes, subscriptions).chunks_exact(SUBSCRIPTION_SIZE).take(usize_of(count));
        listed.filter_map(|subscription| Timer::read(subscription, clock)).collect::<Vec<_>>()
    });
    let mut guest = GuestMemory::Unshared(bytes);
    let wasi = &mut host.wasi;
    let polled = wasi_snapshot_preview1::poll_oneoff(wasi, &mut guest, subscriptions, events, count, event_count).await;
    let errno = match polled {
        // Each subscription needs a handle while the call waits. `poll` of Linux fails in the same way.
        Err(error) if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
            i32::from(u16::from(Errno::Inval))
        }
        polled => polled?,
    };
    if let (0, Some(clock), Some(timers)) = (errno, clock, timers) {
        let event_count = field(at(bytes, event_count), 0).map_or(0, |count| u32::from_le_bytes(count) as usize);
        for event in at(bytes, events).chunks_exact(EVENT_SIZE).take(event_count) {
            let userdata = field(event, 0).map(u64::from_le_bytes);
            let fired = timers.iter().filter(|timer| event.get(10) == Some(&CLOCK) && Some(timer.userdata) == userdata);
            if let Some(deadline) = fired.map(|timer| timer.deadline).min() {
                clock.advance_to(deadline);
            }
        }
    }
    Ok(errno)
}

impl Timer {
    /// Returns the timer in `subscription`, or `None` if the subscription is not for a clock.
    fn read(subscription: &[u8], clock: &VirtualClock) -> Option<Self> {
        if *subscription.get(8)? != CLOCK {
            return None;
        }
        let timeout = u64::from_le_bytes(field(subscription, 24)?);
        let is_absolute = u16::from_le_bytes(field(subscription, 40)?) & IS_ABSOLUTE != 0;
        let is_monotonic = u32::from_le_bytes(field(subscription, 16)?) == MONOTONIC;
        let deadline = match (is_absolute, is_monotonic) {
            (true, true) => timeout,
            (true, false) => clock.now().saturating_add(timeout.saturating_sub(clock.wall_nanos)),
            (false, _) => clock.now().saturating_add(timeout),
        };
        Some(Self { userdata: u64::from_le_bytes(field(subscription, 0)?), deadline })
    }
}

/// Returns the bytes from `address` on.
fn at(bytes: &[u8], address: i32) -> &[u8] {
    bytes.get(usize_of(address)..).unwrap_or_default()
}

/// Converts an address or a count of a guest, which are unsigned.
fn usize_of(number: i32) -> usize {
    number.cast_unsigned() as usize
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
