//! Header fields, the status and trailers of responses.

use std::fmt::Write as _;

use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

use super::{set, start, text};

/// Answers in the way that `name` selects. Returns the outparam if it selects none.
pub(super) fn answer(
    name: &str,
    rest: &str,
    request: &IncomingRequest,
    response: ResponseOutparam,
) -> Option<ResponseOutparam> {
    match name {
        "status" => status(rest, response),
        "fields" => fields(response),
        "refused" => text(response, 200, &refused()),
        "trailers" => trailers(response),
        "empty" => OutgoingBody::finish(start(response, 204), None).expect("the body is complete"),
        "size" => text(response, 200, &format!("{}\n", count(request))),
        _ => return Some(response),
    }
    None
}

fn status(rest: &str, response: ResponseOutparam) {
    let head = OutgoingResponse::new(Fields::new());
    if head.set_status_code(rest.parse().expect("the status is a number")).is_err() {
        return text(response, 200, "the host refuses the status\n");
    }
    let body = set(response, head);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

fn fields(response: ResponseOutparam) {
    let fields = Fields::new();
    for (name, value) in [("x-repeated", &b"a"[..]), ("x-repeated", b"b"), ("x-binary", b"\x80\xff"), ("x-empty", b"")]
    {
        fields.append(name, value).expect("the field is valid");
    }
    let body = set(response, OutgoingResponse::new(fields));
    OutgoingBody::finish(body, None).expect("the body is complete");
}

/// Returns which fields the host refuses, one a line.
fn refused() -> String {
    let mut lines = String::new();
    for (name, value) in [
        ("connection", &b"close"[..]),
        ("keep-alive", b"1"),
        ("proxy-authenticate", b"x"),
        ("proxy-authorization", b"x"),
        ("proxy-connection", b"x"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"x"),
        ("host", b"other"),
        ("http2-settings", b"x"),
        ("te", b"trailers"),
        ("bad name", b"x"),
        ("x-bad-value", b"a\r\nx-other: b"),
        ("", b"x"),
        ("x-good", b"x"),
    ] {
        if let Err(error) = Fields::new().append(name, value) {
            let _ = writeln!(lines, "{name}: {error:?}");
        }
    }
    lines
}

fn trailers(response: ResponseOutparam) {
    let fields = Fields::new();
    // HTTP/1.1 has only trailers that the head names.
    fields.append("trailer", b"x-sum").expect("the field is valid");
    let body = set(response, OutgoingResponse::new(fields));
    let stream = body.write().expect("the first call succeeds");
    stream.blocking_write_and_flush(b"body").expect("the client reads");
    drop(stream);
    let trailers = Fields::new();
    trailers.append("x-sum", b"4").expect("the field is valid");
    OutgoingBody::finish(body, Some(trailers)).expect("the body is complete");
}

/// Reads the body of the request and returns its length in bytes.
fn count(request: &IncomingRequest) -> u64 {
    let body = request.consume().expect("the first call succeeds");
    let stream = body.stream().expect("the first call succeeds");
    let mut count = 0;
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => count += bytes.len() as u64,
            Err(StreamError::Closed) => break,
            Err(error) => panic!("cannot read the body: {error:?}"),
        }
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    count
}
