//! [`Connection`]: a connection to a server, which carries one request at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::HOST;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::io::TokioIo;

use super::error::to_guest_error;
use super::tasks::StreamTasks;
use super::upload::UploadBody;
use crate::http::outgoing::limits::{MAX_FIELDS, MAX_SECTION};
use crate::network::MeterSlot;

/// How long an idle connection may take to become ready for its next request. It is ready unless the server closes it.
const MAX_READY_TIME: Duration = Duration::from_secs(1);

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    /// The address that it goes to.
    pub(super) address: SocketAddr,
    pub(super) meter: Arc<MeterSlot>,
    sender: Sender,
    /// When it is closed unless a request comes before. `None` while it is in use.
    closes_at: watch::Sender<Option<Instant>>,
    /// While it is idle.
    permit: Option<OwnedSemaphorePermit>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<UploadBody>),
    Http2(http2::SendRequest<UploadBody>),
}

/// A request without a response.
pub(super) struct Unsent {
    pub(super) error: hyper::Error,
    /// The request, if none of it was sent.
    pub(super) request: Option<Box<http::Request<UploadBody>>>,
}

impl Connection {
    pub(super) async fn http1<T>(stream: T, meter: Arc<MeterSlot>, address: SocketAddr) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_FIELDS).max_header_size(MAX_SECTION).max_buf_size(2 * MAX_SECTION);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(to_guest_error)?;
        Ok(Self::new(Sender::Http1(sender), connection, meter, address))
    }

    pub(super) async fn http2<T>(stream: T, meter: Arc<MeterSlot>, address: SocketAddr) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(StreamTasks::default());
        builder.max_header_list_size(u32::try_from(MAX_SECTION).unwrap_or(u32::MAX));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(to_guest_error)?;
        Ok(Self::new(Sender::Http2(sender), connection, meter, address))
    }

    fn new(
        sender: Sender,
        connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
        meter: Arc<MeterSlot>,
        address: SocketAddr,
    ) -> Self {
        let (closes_at, idle) = watch::channel(None);
        let task = async move {
            tokio::select! {
                // The sender of a request learns of an error as well.
                _ = connection => {}
                () = expired(idle) => {}
            }
        };
        let task = AbortOnDropHandle::new(Handle::current().spawn(task));
        Self { address, meter, sender, closes_at, permit: None, _task: task }
    }

    /// Sends `request`, whose URL has a scheme and an authority, and waits for the head of the response.
    pub(super) async fn send(
        &mut self,
        mut request: http::Request<UploadBody>,
    ) -> Result<http::Response<Incoming>, Unsent> {
        let url = request.uri().clone();
        let host = request.headers().get(HOST).cloned();
        let unsent = |mut error: TrySendError<http::Request<UploadBody>>| {
            let request = error.take_message().map(|mut request| {
                *request.uri_mut() = url.clone();
                if let Some(host) = &host {
                    request.headers_mut().insert(HOST, host.clone());
                }
                Box::new(request)
            });
            Unsent { error: error.into_error(), request }
        };
        match &mut self.sender {
            Sender::Http1(sender) => {
                *request.uri_mut() = without_authority(&url);
                sender.try_send_request(request).await.map_err(unsent)
            }
            Sender::Http2(sender) => {
                request.headers_mut().remove(HOST);
                sender.try_send_request(request).await.map_err(unsent)
            }
        }
    }

    /// Makes it idle until `closes_at`.
    pub(super) fn set_idle(&mut self, permit: OwnedSemaphorePermit, closes_at: Instant) {
        self.meter.clear();
        self.permit = Some(permit);
        self.closes_at.send_replace(Some(closes_at));
    }

    /// Makes it busy. Then [`Connection::is_usable`] says whether it is still open.
    pub(super) fn set_busy(&mut self) {
        self.permit = None;
        self.closes_at.send_replace(None);
    }

    /// Waits until it can take another request. Returns whether it can.
    pub(super) async fn is_usable(&mut self) -> bool {
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await,
                Sender::Http2(sender) => sender.ready().await,
            }
        };
        timeout(MAX_READY_TIME, ready).await.is_ok_and(|ready| ready.is_ok())
    }

    /// Returns whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Returns when an idle connection has waited for long enough.
async fn expired(mut idle: watch::Receiver<Option<Instant>>) {
    loop {
        let closes_at = *idle.borrow_and_update();
        let changed = match closes_at {
            None => idle.changed().await,
            Some(closes_at) => tokio::select! {
                () = sleep_until(closes_at) => return,
                changed = idle.changed() => changed,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Returns `url` as servers of HTTP/1.1 expect it.
fn without_authority(url: &Uri) -> Uri {
    url.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}
