//! What components reach besides WASI 0.2: `wasi:keyvalue`, `wasi:blobstore`, `wasi:config` and `wasi:logging`.
//!
//! They are drafts, so each version is an interface of its own and has to match by name. Only programs that import one of them are linked with
//! them.

#![allow(unreachable_pub, reason = "bindgen makes the types of resources public")]

mod blobstore;
mod config;
mod keyvalue;
mod keyvalue_batches;
mod logging;
mod object_body;
mod object_reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_engine::data::{DataError, HandlerData};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable, ResourceTableError};
use wasmtime_wasi::WasiView as _;

use super::handles;
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

/// What the calls of these interfaces use.
#[derive(Debug)]
pub(super) struct Stores {
    /// `None` where nothing keeps data.
    pub(super) data: Option<HandlerData>,
    pub(super) config: Arc<BTreeMap<String, String>>,
}

/// Why a call fails: the guest gets an error, or the run ends.
#[derive(Debug)]
pub enum StoreError {
    /// There is no store.
    NoStore,
    Data(DataError),
    /// The guest has too many handles.
    Handles,
    /// The guest used a cursor that it did not get.
    Cursor,
    Trap(wasmtime::Error),
}

/// Tells wasmtime that the calls use the host itself.
#[derive(Debug)]
struct HasHost;

impl HasData for HasHost {
    type Data<'a> = &'a mut Host;
}

/// Adds the interfaces to `linker`, which has those of WASI.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    keyvalue::add_to_linker(linker)?;
    keyvalue_batches::shadow_writes(linker)?;
    blobstore::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    logging::add_to_linker(linker)
}

impl Host {
    /// Returns the data of the handler.
    fn data(&self) -> Result<HandlerData, StoreError> {
        self.stores.data.clone().ok_or(StoreError::NoStore)
    }

    fn table(&mut self) -> &mut ResourceTable {
        self.ctx().table
    }

    /// Checks that the guest may have another handle.
    fn check_handles(&mut self) -> Result<(), StoreError> {
        handles::next(self.table()).map(drop).ok_or(StoreError::Handles)
    }
}

impl StoreError {
    /// Returns what the guest is told. What happened to the store itself is for the operator, in the log.
    ///
    /// # Errors
    /// The trap.
    fn into_message(self) -> Result<String> {
        match self {
            Self::NoStore => Ok("there is no store of data".to_owned()),
            Self::Data(DataError::Full) => Ok("the store of data is full".to_owned()),
            Self::Data(error) if error.is_of_store() => {
                tracing::error!("{error}");
                Ok("the store of data failed".to_owned())
            }
            Self::Data(error) => Ok(error.to_string()),
            Self::Handles => Ok("the run has too many open handles (limit `handles`)".to_owned()),
            Self::Cursor => Ok("this is not a cursor that `list-keys` has returned".to_owned()),
            Self::Trap(error) => Err(error),
        }
    }
}

impl From<DataError> for StoreError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<ResourceTableError> for StoreError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for StoreError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}
