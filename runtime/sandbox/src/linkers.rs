//! [`Linkers`]: what guests may import. There is one set for each [`ProfileEngine`](super::engines::ProfileEngine).
//!
//! The first module and the first component create theirs: a command that runs one program needs only one of them.

mod preview3;

use std::sync::OnceLock;

use wasmtime::component::{Linker as ComponentLinker, Resource};
use wasmtime::{Engine, Linker, Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError};
use wasmtime_wasi::{I32Exit, WasiView as _, p2};

use super::clocks::{self, HasMonotonicClock};
use super::disk;
use super::host::Host;
use super::lists::{self, to_guest_result};
use super::network;
use super::provided::{DRAFT, PREVIEW1, SAME_IN_DRAFT};
use super::random;
use super::stores;

/// The interfaces in the version that wasmtime-wasi defines. Guests may have been built for an earlier one.
const STREAMS: &str = "wasi:io/streams@0.2.12";
const ERROR: &str = "wasi:io/error@0.2.12";

/// The imports of core modules and those of components.
pub(super) struct Linkers {
    engine: Engine,
    is_metered: bool,
    has_preview3: bool,
    modules: OnceLock<Linker<Host>>,
    components: OnceLock<ComponentLinker<Host>>,
    components_with_stores: OnceLock<ComponentLinker<Host>>,
}

impl Linkers {
    /// Creates the linkers for `engine`. `is_metered` is whether its code counts fuel, and `has_preview3` whether components may also import WASI
    /// 0.3.
    pub(super) fn new(engine: &Engine, is_metered: bool, has_preview3: bool) -> Self {
        Self {
            engine: engine.clone(),
            is_metered,
            has_preview3,
            modules: OnceLock::new(),
            components: OnceLock::new(),
            components_with_stores: OnceLock::new(),
        }
    }

    /// Returns the imports of core modules.
    pub(super) fn modules(&self) -> Result<&Linker<Host>> {
        get_or_link(&self.modules, || self.link_modules())
    }

    /// Returns the imports of components.
    pub(super) fn components(&self) -> Result<&ComponentLinker<Host>> {
        get_or_link(&self.components, || self.link_components())
    }

    /// Returns the imports of components that import any of [`stores`]. Others need not wait until these are linked.
    pub(super) fn components_with_stores(&self) -> Result<&ComponentLinker<Host>> {
        get_or_link(&self.components_with_stores, || {
            let mut components = self.components()?.clone();
            stores::add_to_linker(&mut components)?;
            Ok(components)
        })
    }

    fn link_modules(&self) -> Result<Linker<Host>> {
        let mut modules = Linker::new(&self.engine);
        disk::add_to_linker(&mut modules)?;
        // wasmtime-wasi rejects exit codes of 126 and above. A guest of Capstan may exit with any code that a process can have.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code).into()) })?;
        modules.func_wrap_async(PREVIEW1, "poll_oneoff", |caller, (subscriptions, events, count, event_count)| {
            Box::new(clocks::poll_oneoff(caller, subscriptions, events, count, event_count))
        })?;
        modules.func_wrap_async(PREVIEW1, "random_get", |caller, (address, length)| {
            Box::new(random::calls::random_get(caller, address, length))
        })?;
        modules.allow_shadowing(false);
        for name in SAME_IN_DRAFT {
            modules.alias(PREVIEW1, name, DRAFT, name)?;
        }
        Ok(modules)
    }

    fn link_components(&self) -> Result<ComponentLinker<Host>> {
        let mut components = ComponentLinker::new(&self.engine);
        p2::add_to_linker_async(&mut components)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
        components.allow_shadowing(true);
        random::calls::shadow_random(&mut components)?;
        disk::HasFilesystem::add_to_linker(&mut components)?;
        lists::shadow_lists(&mut components)?;
        monotonic_clock::add_to_linker::<_, HasMonotonicClock>(&mut components, HasMonotonicClock::from_host)?;
        if self.is_metered {
            shadow_polled_streams(&mut components)?;
        }
        components.allow_shadowing(false);
        network::shadow_sockets(&mut components)?;
        shadow_error_strings(&mut components)?;
        if self.has_preview3 {
            preview3::add_to_linker(&mut components)?;
        }
        Ok(components)
    }
}

/// Returns the linker in `cell`, and creates it if there is none. If several threads do so at once, they get the same one.
fn get_or_link<T>(cell: &OnceLock<T>, link: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(linker) = cell.get() {
        return Ok(linker);
    }
    let linker = link()?;
    Ok(cell.get_or_init(|| linker))
}

/// Replaces the text of stream errors: guests get the message, but not where in the host it came from.
fn shadow_error_strings(linker: &mut ComponentLinker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut errors = linker.instance(ERROR)?;
    errors.func_wrap("[method]error.to-debug-string", |mut store, (error,): (Resource<IoError>,)| {
        Ok((format!("{:#}", store.data_mut().ctx().table.get(&error)?),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Replaces the calls that return how much can be written, or read, without waiting: here they wait. Otherwise they return 0 if the other
/// end of a pipe is slow, and a guest that polls in a loop uses more fuel: its fuel would depend on the reader of its output.
fn shadow_polled_streams(linker: &mut ComponentLinker<Host>) -> Result<()> {
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap_async(
        "[method]output-stream.check-write",
        |mut store: StoreContextMut<'_, Host>, (stream,): (Resource<DynOutputStream>,)| {
            Box::new(async move {
                let output = store.data_mut().ctx().table.get_mut(&stream)?;
                output.ready().await;
                let permitted = output.check_write().map(|permitted| permitted as u64);
                Ok((to_guest_result(store, permitted)?,))
            })
        },
    )?;
    streams.func_wrap_async(
        "[method]input-stream.read",
        |mut store: StoreContextMut<'_, Host>, (stream, size): (Resource<DynInputStream>, u64)| {
            Box::new(async move {
                let input = store.data_mut().ctx().table.get_mut(&stream)?;
                let read = input.blocking_read(usize::try_from(size).unwrap_or(usize::MAX)).await;
                Ok((to_guest_result(store, read.map(Vec::from))?,))
            })
        },
    )
}

impl std::fmt::Debug for Linkers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Linkers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use capstan_engine::handler::Call;
    use wasmtime::Store;

    use super::*;
    use crate::provided::DIFFERENT_IN_DRAFT;

    #[test]
    fn modules_can_import_what_the_interface_check_knows() {
        let engine = Engine::default();
        let linkers = Linkers::new(&engine, false, false);
        let mut store = Store::new(&engine, Host::new(Call::empty(), None).unwrap());
        let defined = |module: &str, store: &mut Store<Host>| -> BTreeSet<String> {
            let all =
                linkers.modules().unwrap().iter(store).map(|(module, name, _)| (module.to_owned(), name.to_owned()));
            all.filter(|(defined, _)| defined == module).map(|(_, name)| name).collect()
        };
        let names = |lists: &[&[&str]]| -> BTreeSet<String> { lists.concat().into_iter().map(str::to_owned).collect() };
        assert_eq!(defined(PREVIEW1, &mut store), names(&[&SAME_IN_DRAFT, &DIFFERENT_IN_DRAFT]));
        assert_eq!(defined(DRAFT, &mut store), names(&[&SAME_IN_DRAFT]));
    }
}
