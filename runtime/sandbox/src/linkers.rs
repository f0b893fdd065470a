//! The linkers: what guests may import, built once for each machine.

use wasmtime::component::{Linker as ComponentLinker, Resource};
use wasmtime::{Engine, Linker, Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::io::streams::{self, StreamError};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError, StreamResult};
use wasmtime_wasi::{I32Exit, WasiView as _, p2};

use super::clocks::{self, Clocks};
use super::disk;
use super::host::Host;
use super::network;

const PREVIEW1: &str = "wasi_snapshot_preview1";
/// The version that the library has of it; guests may have been built for an earlier one.
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// What core modules may import, and what components may.
pub(super) struct Linkers {
    pub(super) modules: Linker<Host>,
    pub(super) components: ComponentLinker<Host>,
}

impl Linkers {
    /// For `engine`, which counts fuel or does not.
    pub(super) fn new(engine: &Engine, is_metered: bool) -> Result<Self> {
        let mut modules = Linker::new(engine);
        disk::add_to_linker(&mut modules)?;
        // The library refuses exit codes of 126 and more; a guest of Capstan may end with any of a process.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code).into()) })?;
        modules.func_wrap_async(PREVIEW1, "poll_oneoff", |caller, (subscriptions, events, count, told)| {
            Box::new(clocks::poll_oneoff(caller, subscriptions, events, count, told))
        })?;
        modules.allow_shadowing(false);

        let mut components = ComponentLinker::new(engine);
        p2::add_to_linker_async(&mut components)?;
        components.allow_shadowing(true);
        disk::HasFilesystem::add_to_linker(&mut components)?;
        monotonic_clock::add_to_linker::<_, Clocks>(&mut components, Clocks::of)?;
        if is_metered {
            wait_before_answering(&mut components)?;
        }
        components.allow_shadowing(false);
        network::shadow(&mut components)?;
        shadow_errors(&mut components)?;
        Ok(Self { modules, components })
    }
}

/// What a guest is told of an error of a stream: what it says, and not where in the host it came from.
fn shadow_errors(linker: &mut ComponentLinker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut errors = linker.instance("wasi:io/error@0.2.12")?;
    errors.func_wrap("[method]error.to-debug-string", |mut store, (error,): (Resource<IoError>,)| {
        Ok((format!("{:#}", store.data_mut().ctx().table.get(&error)?),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Has guests wait in the calls that ask how much can be written or read at once. They answer 0 where others are slow, and a guest that
/// then asks again computes more than one that need not: its fuel would depend on who reads its output.
fn wait_before_answering(linker: &mut ComponentLinker<Host>) -> Result<()> {
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap_async(
        "[method]output-stream.check-write",
        |mut store: StoreContextMut<'_, Host>, (stream,): (Resource<DynOutputStream>,)| {
            Box::new(async move {
                let output = store.data_mut().ctx().table.get_mut(&stream)?;
                output.ready().await;
                let permitted = output.check_write().map(|permitted| permitted as u64);
                Ok((answer(store, permitted)?,))
            })
        },
    )?;
    streams.func_wrap_async(
        "[method]input-stream.read",
        |mut store: StoreContextMut<'_, Host>, (stream, size): (Resource<DynInputStream>, u64)| {
            Box::new(async move {
                let input = store.data_mut().ctx().table.get_mut(&stream)?;
                let read = input.blocking_read(usize::try_from(size).unwrap_or(usize::MAX)).await;
                Ok((answer(store, read.map(Vec::from))?,))
            })
        },
    )
}

/// What the guest is told, or the end of it.
fn answer<T>(
    mut store: StoreContextMut<'_, Host>,
    result: StreamResult<T>,
) -> Result<std::result::Result<T, StreamError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => streams::Host::convert_stream_error(store.data_mut().ctx().table, error).map(Err),
    }
}

impl std::fmt::Debug for Linkers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Linkers").finish_non_exhaustive()
    }
}
