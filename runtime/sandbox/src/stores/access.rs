//! What the calls need of the [`Host`].

use capstan_engine::data::HandlerData;
use wasmtime::Result;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::WasiView as _;

use super::error::StoreError;
use crate::handles;
use crate::host::Host;

/// Tells wasmtime that the calls use the host itself.
#[derive(Debug)]
pub(super) struct HasHost;

impl HasData for HasHost {
    type Data<'a> = &'a mut Host;
}

impl Host {
    /// Returns the data of the handler.
    pub(super) fn data(&self) -> Result<HandlerData, StoreError> {
        self.stores.data.clone().ok_or(StoreError::NoStore)
    }

    pub(super) fn table(&mut self) -> &mut ResourceTable {
        self.ctx().table
    }

    /// Checks that the guest may have another handle.
    pub(super) fn check_handles(&mut self) -> Result<(), StoreError> {
        handles::next(self.table()).map(drop).ok_or(StoreError::Handles)
    }
}
