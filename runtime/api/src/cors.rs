//! CORS: what the browser of a page of another origin may do, for the origins that the operator allows.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderValue, ORIGIN,
    VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::body::Body;

/// Headers of a request that a page may send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, capstan-env, content-type, idempotency-key, if-match, if-none-match, last-event-id",
);
/// Headers of a response that a page may read.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("capstan-exit-code, capstan-job, capstan-outcome, etag, location, retry-after");
/// Seconds for which a browser may cache a preflight response.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Another origin that the operator allows, and that a request comes from.
#[derive(Debug)]
pub(super) struct AllowedOrigin {
    origin: HeaderValue,
    /// Whether the request is a preflight: the browser asks what the page may do, before the page does it.
    is_preflight: bool,
}

impl AllowedOrigin {
    /// The `origin` that the request `head` comes from.
    pub(super) fn new(origin: HeaderValue, head: &Parts) -> Self {
        let is_preflight = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self { origin, is_preflight }
    }

    /// Allows the page to read `response`.
    pub(super) fn allow(self, response: &mut Response<Body>) {
        let is_preflight = self.is_preflight && response.status() == StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        if !is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        } else if let Some(methods) = headers.get(ALLOW).cloned() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}

/// Tells caches that `response` depends on the origin of the request.
pub(super) fn vary_by_origin(response: &mut Response<Body>) {
    response.headers_mut().append(VARY, HeaderValue::from_name(ORIGIN));
}
