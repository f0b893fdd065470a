//! The linkers: what guests may import, built once at start.

use wasmtime::component::Linker as ComponentLinker;
use wasmtime::{Engine, Linker, Result};
use wasmtime_wasi::{I32Exit, p2};

use super::disk;
use super::host::Host;

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
        Ok(Self { modules, components })
    }
}

impl std::fmt::Debug for Linkers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Linkers").finish_non_exhaustive()
    }
}
