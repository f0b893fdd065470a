//! A connection that goes on as something other than HTTP.
//!
//! An API function answers 101 and leaves in [`Afterwards`] what the connection is for then. It is carried out by the task of the
//! connection itself, so that it takes the place of one, and ends when the daemon cuts its connections. What the client sent together
//! with its request is read first.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::body::Body as _;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::body::{self, Body};
use super::error::Error;
use super::request::Request;

/// What goes on when HTTP is over.
type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a connection is for after its last request.
#[derive(Clone, Default)]
pub(crate) struct Afterwards(Arc<Mutex<Option<Session>>>);

/// A connection that will speak another protocol once 101 was answered.
#[derive(Debug)]
pub(super) struct Upgrade {
    connection: OnUpgrade,
    protocol: &'static str,
    /// What the answer says besides.
    headers: HeaderMap,
    afterwards: Afterwards,
}

impl Afterwards {
    /// What the connection is for now; `None` where it is over.
    pub(crate) fn take(&self) -> Option<Session> {
        self.0.lock().expect("no panic while the lock is held").take()
    }
}

impl fmt::Debug for Afterwards {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Afterwards")
    }
}

impl Upgrade {
    /// The upgrade to `protocol` that `request` asks for.
    ///
    /// # Errors
    /// [`Error`]: 426 where it asks for none, or for others only; 400 where it cannot be had.
    pub(super) fn of(request: &mut Request, protocol: &'static str) -> Result<Self, Error> {
        if request.head.version >= Version::HTTP_2 {
            return Err(Error::bad_request("HTTP/2 connections are not upgraded; ask with HTTP/1.1"));
        }
        let asks = request.lists(&CONNECTION, "upgrade") && request.lists(&UPGRADE, protocol);
        let connection = request.head.extensions.remove::<OnUpgrade>();
        let Some(connection) = connection.filter(|_| asks && request.head.version == Version::HTTP_11) else {
            return Err(Error::upgrade_required(protocol));
        };
        if !request.body.is_end_stream() {
            return Err(Error::bad_request("a request that asks for an upgrade has no body; send stdin after it"));
        }
        Ok(Self { connection, protocol, headers: HeaderMap::new(), afterwards: request.afterwards.clone() })
    }

    /// The same, whose answer says this too.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Answers 101, after which `session` has the connection.
    pub(super) fn answer<F>(self, session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static) -> Response<Body>
    where
        F: Future<Output = ()> + Send,
    {
        let connection = self.connection;
        let session: Session = Box::pin(async move {
            // It fails where the client left before it was answered.
            if let Ok(upgraded) = connection.await {
                session(TokioIo::new(upgraded)).await;
            }
        });
        *self.afterwards.0.lock().expect("no panic while the lock is held") = Some(session);
        let mut response = body::empty(StatusCode::SWITCHING_PROTOCOLS);
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(self.protocol));
        response
    }
}
