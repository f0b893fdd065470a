//! [`Outbound`]: what a guest may request from others.

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Decides about the outbound requests of a run, and sends them.
#[derive(Debug, Default)]
pub(super) struct Outbound;

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        // The host holds a copy of one chunk of each body.
        64 << 10
    }
}
