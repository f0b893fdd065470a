//! `Upgrade`: turns a connection into something other than HTTP.
//!
//! An API function answers 101 and leaves in the [`SessionSlot`] what the connection runs after HTTP. The task of the connection runs it,
//! so it counts as a connection, and ends when the daemon cuts its connections. The session first reads what the client sent together
//! with its request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::body::{self, Body};
use super::error::Error;
use super::request::Request;
use super::session::{Session, SessionSlot};

/// How long the end of an empty body in chunks may take to arrive after its head.
const EMPTY_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that changes its protocol once 101 is answered.
#[derive(Debug)]
pub(super) struct Upgrade {
    connection: OnUpgrade,
    protocol: &'static str,
    /// Further headers of the response.
    headers: HeaderMap,
    session_slot: SessionSlot,
}

/// Returns whether a body is empty. One in chunks can be, though its head does not say so. Waits only for a body that was announced.
async fn is_empty(body: &mut Incoming) -> bool {
    while !body.is_end_stream() {
        match tokio::time::timeout(EMPTY_BODY_TIMEOUT, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
            _ => return false,
        }
    }
    true
}

impl Upgrade {
    /// Reads a request to upgrade to `protocol`.
    ///
    /// # Errors
    /// [`Error`]: 426 for a request without an upgrade to `protocol`; 400 over HTTP/2, and for a request with a body.
    pub(super) async fn from_request(request: &mut Request, protocol: &'static str) -> Result<Self, Error> {
        if request.head.version >= Version::HTTP_2 {
            return Err(Error::bad_request("an HTTP/2 connection cannot be upgraded; send the request with HTTP/1.1"));
        }
        let is_requested = request.header_lists(&CONNECTION, "upgrade") && request.header_lists(&UPGRADE, protocol);
        let connection = request.head.extensions.remove::<OnUpgrade>();
        let Some(connection) = connection.filter(|_| is_requested && request.head.version == Version::HTTP_11) else {
            return Err(Error::upgrade_required(protocol));
        };
        if !is_empty(&mut request.body).await {
            return Err(Error::bad_request(
                "a request for an upgrade must not have a body; send stdin after the response 101",
            ));
        }
        Ok(Self { connection, protocol, headers: HeaderMap::new(), session_slot: request.session_slot.clone() })
    }

    /// Adds a header to the response.
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Returns the response 101, after which the connection runs `session`.
    pub(super) fn respond<F>(self, session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static) -> Response<Body>
    where
        F: Future<Output = ()> + Send,
    {
        let connection = self.connection;
        let session: Session = Box::pin(async move {
            // It fails where the client disconnected before the response.
            if let Ok(upgraded) = connection.await {
                session(TokioIo::new(upgraded)).await;
            }
        });
        self.session_slot.set(session);
        let mut response = body::empty(StatusCode::SWITCHING_PROTOCOLS);
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(self.protocol));
        response
    }
}
