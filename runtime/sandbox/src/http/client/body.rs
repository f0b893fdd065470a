//! [`ResponseBody`]: the body of a response, which gives its connection back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use capstan_core::secret::{Redaction, Redactor};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::connection::Connection;
use super::error::to_guest_error;
use super::pool::{Origin, Pool};
use crate::http::outgoing::{limits, secrets};

/// The body of a response. At its end, its connection is idle; dropping it before closes the connection.
pub(super) struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    max_pause: Duration,
    pause: Pin<Box<Sleep>>,
    /// Whether the guest waits for the next frame. Only then the pause counts.
    is_waiting: bool,
    /// Masks the secrets that the request carried. The length stays the same.
    redaction: Redaction,
    redactor: Option<Redactor>,
    /// What comes after the bytes that the redactor held back.
    trailers: Option<Frame<Bytes>>,
}

/// The use of a connection by one request.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) pool: Arc<Pool>,
    pub(super) origin: Origin,
    /// Whether the request was sent to its end. Before that, the connection cannot take another.
    pub(super) is_sent: Arc<AtomicBool>,
}

impl Lease {
    fn release(self) {
        if self.is_sent.load(Ordering::Acquire) {
            self.pool.put(self.origin, self.connection);
        }
    }
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, max_pause: Duration, redaction: &Redaction) -> Self {
        let redactor = (!redaction.is_empty()).then(|| redaction.redactor());
        let pause = Box::pin(sleep(max_pause));
        let (redaction, lease) = (redaction.clone(), Some(lease));
        let mut body =
            Self { incoming, lease, max_pause, pause, is_waiting: false, redaction, redactor, trailers: None };
        if body.incoming.is_end_stream() {
            body.release();
        }
        body
    }

    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }

    /// Returns what is left after the last frame.
    fn finish(&mut self) -> Option<Frame<Bytes>> {
        let held = self.redactor.take().map(|mut redactor| redactor.finish()).unwrap_or_default();
        if held.is_empty() { self.trailers.take() } else { Some(Frame::data(held.into())) }
    }

    /// Returns the frame for the guest, or `None` if there is none yet.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Error> {
        match frame.into_data() {
            Ok(data) => Ok(match &mut self.redactor {
                None => Some(Frame::data(data)),
                Some(redactor) => {
                    let shown = redactor.redact(&data);
                    (!shown.is_empty()).then(|| Frame::data(shown.into()))
                }
            }),
            Err(frame) => {
                let mut fields = frame.into_trailers().unwrap_or_default();
                limits::check_response(&fields)?;
                secrets::mask(&mut fields, &self.redaction);
                self.trailers = Some(Frame::trailers(fields));
                Ok(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(None) => {
                    this.release();
                    return Poll::Ready(this.finish().map(Ok));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    this.is_waiting = false;
                    match this.pass(frame) {
                        Ok(None) => {}
                        Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                        Err(error) => {
                            this.lease = None;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.lease = None;
                    return Poll::Ready(Some(Err(to_guest_error(error))));
                }
                Poll::Pending => {
                    if !this.is_waiting {
                        this.is_waiting = true;
                        this.pause.as_mut().reset(Instant::now() + this.max_pause);
                    }
                    if this.pause.as_mut().poll(cx).is_ready() {
                        this.lease = None;
                        return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream() && self.redactor.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.redactor {
            None => self.incoming.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
