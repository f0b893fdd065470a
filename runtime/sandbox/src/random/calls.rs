//! The calls that return random bytes, whatever their number.

use wasmtime::component::Linker as ComponentLinker;
use wasmtime::{Caller, Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::random::insecure::Host as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::random::{WasiRandomCtx, WasiRandomView as _};

use super::PIECE_SIZE;
use crate::host::{Host, exported_memory};

/// The interfaces in the version that wasmtime-wasi defines.
const RANDOM: &str = "wasi:random/random@0.2.12";
const INSECURE: &str = "wasi:random/insecure@0.2.12";

/// `random_get` of preview 1. wasmtime-wasi generates all bytes at once, so it has a limit on their number.
pub(crate) async fn random_get(mut caller: Caller<'_, Host>, address: i32, length: i32) -> Result<i32> {
    let memory = exported_memory(&mut caller)?;
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    let start = address.cast_unsigned() as usize;
    let buffer = start.checked_add(length.cast_unsigned() as usize).and_then(|end| bytes.get_mut(start..end));
    let Some(buffer) = buffer else { wasmtime::bail!("the buffer for random bytes is outside of the memory") };
    for (index, piece) in buffer.chunks_mut(PIECE_SIZE).enumerate() {
        if index > 0 {
            tokio::task::yield_now().await;
        }
        piece.copy_from_slice(&host.random().get_random_bytes(piece.len() as u64)?);
    }
    Ok(0)
}

/// Replaces the functions of `wasi:random` 0.2 that return any number of bytes.
pub(crate) fn shadow_random(linker: &mut ComponentLinker<Host>) -> Result<()> {
    linker.instance(RANDOM)?.func_wrap_async("get-random-bytes", |store, (length,): (u64,)| {
        Box::new(async move { Ok((bytes(store, length, WasiRandomCtx::get_random_bytes).await?,)) })
    })?;
    linker.instance(INSECURE)?.func_wrap_async("get-insecure-random-bytes", |store, (length,): (u64,)| {
        Box::new(async move { Ok((bytes(store, length, WasiRandomCtx::get_insecure_random_bytes).await?,)) })
    })
}

/// Returns `length` bytes from `source`.
///
/// # Errors
/// If the memory limit of the guest has no room for them: it stores them too.
async fn bytes(
    mut store: StoreContextMut<'_, Host>,
    length: u64,
    source: fn(&mut WasiRandomCtx, u64) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    if !store.data_mut().limiter_mut().has_room_for(length) {
        wasmtime::bail!("the guest asked for {length} random bytes, more than its memory limit leaves")
    }
    let mut bytes = Vec::new();
    let mut rest = length;
    while rest > 0 {
        let size = rest.min(PIECE_SIZE as u64);
        bytes.extend(source(store.data_mut().random(), size)?);
        rest -= size;
        if rest > 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(bytes)
}
