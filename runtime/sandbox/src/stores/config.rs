//! `wasi:config`: the table `[config]` of the manifest.
//!
//! Keys are in their order, so that a run that must be the same each time is. (The crate wasmtime-wasi-config has them in a random one.)

use wasmtime::component::{ComponentType, Lift, Linker, Lower, WasmStr};
use wasmtime::{Result, StoreContextMut};

use crate::host::Host;

const INTERFACES: [&str; 2] = ["wasi:config/store@0.2.0-rc.1", "wasi:config/runtime@0.2.0-draft"];
/// Bytes of the longest key that is looked up.
const MAX_KEY: usize = 4096;

/// The error of the interface, which never happens here.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Answer<T> = std::result::Result<T, Error>;

/// Adds the interface, in both of its names, to `linker`.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    for name in INTERFACES {
        let mut instance = linker.instance(name)?;
        instance.func_wrap("get", |store: StoreContextMut<'_, Host>, (key,): (WasmStr,)| {
            let key = key.to_str(&store)?;
            let key = if key.len() > MAX_KEY { "" } else { &*key };
            Ok((Answer::Ok(store.data().stores.config.get(key).cloned()),))
        })?;
        instance.func_wrap("get-all", |store: StoreContextMut<'_, Host>, (): ()| {
            let all = store.data().stores.config.iter();
            Ok((Answer::Ok(all.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()),))
        })?;
    }
    Ok(())
}
