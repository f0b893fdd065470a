//! `Body`: what answers are made of.

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

/// The body of an answer: whole, or streamed from a run.
pub(crate) type Body = UnsyncBoxBody<Bytes, Abort>;

/// A body that ends before its end: the connection is cut, so that nobody takes it for whole.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is cut, because the run did not end well or nobody reads it")]
pub(crate) struct Abort;

/// A body of known length.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Whole(bytes.into()).boxed_unsync()
}

/// Bytes of the pieces in which a body goes out that is there whole.
const PIECE: usize = 32 << 10;

/// What is left of a body of known length. It goes out in pieces, so that it shows how far the client has read.
struct Whole(Bytes);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let length = PIECE.min(self.0.len());
        let piece = self.0.split_to(length);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// `bytes`, counted for as long as anybody holds them.
pub(crate) fn held(bytes: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(bytes, permit))
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
