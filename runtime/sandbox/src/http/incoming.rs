//! [`RequestBody`]: the body of the request that a guest answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use capstan_core::http::Trailers;
use http_body::{Body, Frame};
use wasmtime_wasi_http::Error;

use super::response::to_header_map;
use crate::stdio::Stdin;

/// Reads the stdin of the job, and then the trailers.
pub(super) struct RequestBody {
    stdin: Stdin,
    trailers: Option<Trailers>,
}

impl RequestBody {
    /// Creates the body. `trailers` are set by the time `stdin` has ended.
    pub(super) fn new(stdin: Stdin, trailers: Trailers) -> Self {
        Self { stdin, trailers: Some(trailers) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let bytes = ready!(self.stdin.poll_read_bytes(cx));
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let trailers = self.trailers.take();
        let fields = trailers.as_ref().and_then(Trailers::get).map(to_header_map);
        Poll::Ready(match fields {
            None => None,
            Some(Ok(fields)) => Some(Ok(Frame::trailers(fields))),
            Some(Err(error)) => Some(Err(Error::InternalError(Some(error.to_string())))),
        })
    }
}
