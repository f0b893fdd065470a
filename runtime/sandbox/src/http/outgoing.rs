//! [`Outbound`]: what a guest may request from others.

use http::HeaderName;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Decides about the outbound requests of a run, and sends them.
#[derive(Debug, Default)]
pub(super) struct Outbound;

/// Pieces of a body that a guest may write before the first is taken, besides the one that it is about to write.
const BODY_PIECES: usize = 15;
/// Bytes of such a piece. With it, a body holds at most 1 MiB of the daemon's memory.
const BODY_PIECE: usize = 64 << 10;

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

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        // The default creates a closure on the heap for each field.
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }
}
