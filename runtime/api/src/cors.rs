//! Pages of other origins: what a browser is told of those that the operator lists, and of no other.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderValue, ORIGIN,
    VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::body::Body;

/// Headers that a page may send.
const SENT: HeaderValue = HeaderValue::from_static(
    "accept, capstan-env, content-type, idempotency-key, if-match, if-none-match, last-event-id",
);
/// Headers of an answer that a page may read.
const READ: HeaderValue =
    HeaderValue::from_static("capstan-exit-code, capstan-job, capstan-outcome, etag, location, retry-after");
/// Seconds for which a browser need not ask again.
const KEPT: HeaderValue = HeaderValue::from_static("600");

/// A page of an origin that is listed.
#[derive(Debug)]
pub(super) struct Page {
    origin: HeaderValue,
    /// Whether its browser asks what the page may do, before it does it.
    asks: bool,
}

impl Page {
    /// The page of `origin` that `head` comes from.
    pub(super) fn of(origin: HeaderValue, head: &Parts) -> Self {
        let asks = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self { origin, asks }
    }

    /// Lets the page have `response`.
    pub(super) fn allow(self, response: &mut Response<Body>) {
        let is_preflight = self.asks && response.status() == StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        if !is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        } else if let Some(methods) = headers.get(ALLOW).cloned() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
            headers.insert(ACCESS_CONTROL_MAX_AGE, KEPT);
        }
    }
}

/// Says to caches that `response` is for who asked, since others are answered otherwise.
pub(super) fn vary(response: &mut Response<Body>) {
    response.headers_mut().append(VARY, HeaderValue::from_name(ORIGIN));
}
