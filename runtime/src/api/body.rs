//! `Body`: what answers are made of.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The body of an answer: whole, or streamed from a run.
pub(crate) type Body = UnsyncBoxBody<Bytes, Abort>;

/// A body that ends before its end: the connection is cut, so that nobody takes it for whole.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is cut, because the run did not end well or nobody reads it")]
pub(crate) struct Abort;

/// A body of known length.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An answer of this type.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    typed(status, "application/json", whole(json_line(value)))
}

/// A line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).expect("what is answered has text keys and no failing Serialize");
    bytes.push(b'\n');
    bytes.into()
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// What `OPTIONS` answers.
pub(crate) fn allowing(methods: &str) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(ALLOW, HeaderValue::from_str(methods).expect("method names are header text"));
    response
}
