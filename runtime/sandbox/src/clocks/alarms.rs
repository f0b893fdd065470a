//! Sleeping under preview 1: `poll_oneoff`, which tells the guest's clock of the alarms that went off.

use wasmtime::{AsContextMut as _, Caller, Extern, Result};
use wasmtime_wasi::HostMonotonicClock as _;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

use super::Slept;
use crate::host::Host;

/// Bytes of a subscription and of an event, and where in them things are, as preview 1 lays them out.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
const CLOCK: u8 = 0;
const IS_ABSOLUTE: u16 = 1;
const MONOTONIC: u32 = 1;

/// A sleep that the guest asked for: how it tells it from others, and until when of its clock it is.
struct Alarm {
    userdata: u64,
    until: u64,
}

/// The library's `poll_oneoff`, with the clock moved by what was slept where it stands otherwise.
pub(crate) async fn poll_oneoff(
    mut caller: Caller<'_, Host>,
    subscriptions: i32,
    events: i32,
    count: i32,
    told: i32,
) -> Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("missing required memory export")
    };
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    host.wasi.set_hostcall_fuel(fuel);
    let slept = host.slept.clone();
    let alarms = slept.as_ref().map(|slept| {
        let listed = at(bytes, subscriptions).chunks_exact(SUBSCRIPTION).take(usize_of(count));
        listed.filter_map(|subscription| Alarm::read(subscription, slept)).collect::<Vec<_>>()
    });
    let mut guest = GuestMemory::Unshared(bytes);
    let wasi = &mut host.wasi;
    let errno = wasi_snapshot_preview1::poll_oneoff(wasi, &mut guest, subscriptions, events, count, told).await?;
    if let (0, Some(slept), Some(alarms)) = (errno, slept, alarms) {
        let happened = field(at(bytes, told), 0).map_or(0, |told| u32::from_le_bytes(told) as usize);
        for event in at(bytes, events).chunks_exact(EVENT).take(happened) {
            let userdata = field(event, 0).map(u64::from_le_bytes);
            let went_off =
                alarms.iter().filter(|alarm| event.get(10) == Some(&CLOCK) && Some(alarm.userdata) == userdata);
            if let Some(until) = went_off.map(|alarm| alarm.until).min() {
                slept.until(until);
            }
        }
    }
    Ok(errno)
}

impl Alarm {
    /// The one in `subscription`, if it is one.
    fn read(subscription: &[u8], slept: &Slept) -> Option<Self> {
        if *subscription.get(8)? != CLOCK {
            return None;
        }
        let timeout = u64::from_le_bytes(field(subscription, 24)?);
        let is_absolute = u16::from_le_bytes(field(subscription, 40)?) & IS_ABSOLUTE != 0;
        let is_monotonic = u32::from_le_bytes(field(subscription, 16)?) == MONOTONIC;
        let until = match (is_absolute, is_monotonic) {
            (true, true) => timeout,
            (true, false) => slept.now().saturating_add(timeout.saturating_sub(slept.standing)),
            (false, _) => slept.now().saturating_add(timeout),
        };
        Some(Self { userdata: u64::from_le_bytes(field(subscription, 0)?), until })
    }
}

/// What of memory lies from `address` on.
fn at(bytes: &[u8], address: i32) -> &[u8] {
    bytes.get(usize_of(address)..).unwrap_or_default()
}

/// Addresses and counts of a guest have no sign.
fn usize_of(number: i32) -> usize {
    number.cast_unsigned() as usize
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
