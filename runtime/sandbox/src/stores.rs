//! What components reach besides WASI 0.2: `wasi:keyvalue`, `wasi:blobstore`, `wasi:config` and `wasi:logging`.
//!
//! They are drafts, so each version is an interface of its own and has to match by name. Only programs that import one of them are linked with
//! them.

#![allow(unreachable_pub, reason = "bindgen makes the types of resources public")]

mod access;
mod blobstore;
mod config;
mod error;
mod keyvalue;
mod keyvalue_batches;
mod logging;
mod object_body;
mod object_reader;
pub(super) mod state;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::host::Host;

/// The interfaces that are provided, with their versions.
pub(super) const INTERFACES: [&str; 13] = [
    "wasi:blobstore/blobstore@0.2.0-draft",
    "wasi:blobstore/container@0.2.0-draft",
    "wasi:blobstore/types@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:logging/logging",
    "wasi:logging/logging@0.1.0-draft",
];

/// Adds the interfaces to `linker`, which has those of WASI.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    keyvalue::add_to_linker(linker)?;
    keyvalue_batches::shadow_writes(linker)?;
    blobstore::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    logging::add_to_linker(linker)
}
