//! [`UploadBody`]: the body of a request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

/// The body of a request, which knows whether it was sent to its end.
#[derive(Debug)]
pub(super) struct UploadBody {
    body: WasiBody,
    is_sent: Arc<AtomicBool>,
}

impl UploadBody {
    /// Sets `is_sent` when `body` has ended.
    pub(super) fn new(body: WasiBody, is_sent: Arc<AtomicBool>) -> Self {
        is_sent.store(body.is_end_stream(), Ordering::Release);
        Self { body, is_sent }
    }
}

impl Drop for UploadBody {
    /// The library drops it when it needs no more of it, for example at once if the request is a GET without a length.
    fn drop(&mut self) {
        self.is_sent.store(true, Ordering::Release);
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && self.body.is_end_stream()) {
            self.is_sent.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
