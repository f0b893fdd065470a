//! The linkers: what guests may import, built once at start.

use wasmtime::component::{Linker as ComponentLinker, Resource};
use wasmtime::{Engine, Linker, Result};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::{I32Exit, WasiView as _, p2};

use super::disk;
use super::host::Host;
use super::network;

const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What core modules may import, and what components may.
pub(super) struct Linkers {
    pub(super) modules: Linker<Host>,
    pub(super) components: ComponentLinker<Host>,
}

impl Linkers {
    pub(super) fn new(engine: &Engine) -> Result<Self> {
        let mut modules = Linker::new(engine);
        disk::add_to_linker(&mut modules)?;
        // The library refuses exit codes of 126 and more; a guest of Capstan may end with any of a process.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code).into()) })?;
        modules.allow_shadowing(false);

        let mut components = ComponentLinker::new(engine);
        p2::add_to_linker_async(&mut components)?;
        components.allow_shadowing(true);
        disk::HasFilesystem::add_to_linker(&mut components)?;
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

impl std::fmt::Debug for Linkers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Linkers").finish_non_exhaustive()
    }
}
