//! [`HttpState`]: what the calls of `wasi:http` of a run use.

use std::sync::Arc;

use capstan_core::http::Exchange;
use capstan_core::policy::HttpReach;
use wasmtime_wasi_http::WasiHttpCtx;

use super::client::Client;
use super::outgoing::Outbound;
use crate::network::Network;

/// What the calls of `wasi:http` of a run use.
#[derive(Debug)]
pub(crate) struct HttpState {
    /// The request to answer, until the guest gets it.
    exchange: Option<Box<Exchange>>,
    pub(super) context: WasiHttpCtx,
    pub(super) outbound: Outbound,
}

impl HttpState {
    pub(crate) fn new(exchange: Option<Box<Exchange>>) -> Self {
        Self { exchange, context: WasiHttpCtx::new(), outbound: Outbound::default() }
    }

    /// Allows the requests in `reach`, whose connections belong to `network`.
    pub(crate) fn allow(&mut self, reach: Option<Box<HttpReach>>, network: Network) {
        self.outbound.reach = reach.map(Arc::from);
        self.outbound.network = Some(network);
    }

    /// Sets the client of the handler.
    pub(crate) fn set_client(&mut self, client: Arc<Client>) {
        self.outbound.client = Some(client);
    }

    /// Returns whether there is a request to answer.
    pub(crate) fn has_exchange(&self) -> bool {
        self.exchange.is_some()
    }

    pub(crate) fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchange.take().map(|exchange| *exchange)
    }
}
