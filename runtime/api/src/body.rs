//! `Body`: the bodies of responses, and constructors of common responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

/// The body of a response: complete, or streamed from a run.
pub(crate) type Body = UnsyncBoxBody<Bytes, Aborted>;

/// The error of a body that stops early. The connection is cut, so that no client takes the response for complete.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the response is cut, because the run did not succeed or the client does not read it")]
pub(crate) struct Aborted;

/// Creates a body of known length.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    FullBody(bytes.into()).boxed_unsync()
}

/// Bytes of the frames of a body of known length.
const FRAME: usize = 32 << 10;

/// The rest of a body of known length. It is sent in small frames, so that the timeouts see how far the client has read.
struct FullBody(Bytes);

impl HttpBody for FullBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let length = FRAME.min(self.0.len());
        let frame = self.0.split_to(length);
        Poll::Ready((!frame.is_empty()).then(|| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Returns `bytes`, whose last clone drops `permit`.
pub(crate) fn with_permit(bytes: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(bytes, permit))
}

/// Creates a response with a body of this type.
pub(crate) fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Creates a response in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    response(status, "application/json", full(json_line(value)))
}

/// Writes a value as one line of JSON, with the line feed.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).expect("responses have text keys and no failing Serialize");
    bytes.push(b'\n');
    bytes.into()
}

/// Creates a response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Creates the response to `OPTIONS`.
pub(crate) fn options_response(methods: &str) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(ALLOW, HeaderValue::from_str(methods).expect("method names are header text"));
    response
}
