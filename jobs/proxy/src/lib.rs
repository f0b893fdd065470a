//! Forwards GET requests to the upstream in the variable `UPSTREAM`, with the token in `UPSTREAM_TOKEN` as `Authorization: Bearer …`, and
//! streams the response back.
//!
//! The variable has a placeholder. The host replaces it by the secret in requests to the upstream, so this program never sees the secret.

#![expect(clippy::disallowed_methods, reason = "a guest reads its own variables")]

use std::env;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

struct Proxy;

wasip2::http::proxy::export!(Proxy);

/// Fields of the response that are passed on.
const PASSED: [&str; 4] = ["content-type", "content-length", "etag", "last-modified"];

impl wasip2::exports::http::incoming_handler::Guest for Proxy {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        if !matches!(request.method(), Method::Get) {
            return fail(response, 405, "only GET is forwarded");
        }
        match forward(&request.path_with_query().unwrap_or_default()) {
            Ok(upstream) => pass_on(&upstream, response),
            Err(reason) => fail(response, 502, &reason),
        }
    }
}

/// Requests `path` from the upstream.
fn forward(path: &str) -> Result<IncomingResponse, String> {
    let upstream = env::var("UPSTREAM").map_err(|_| "UPSTREAM is not set")?;
    let (scheme, authority) = match upstream.split_once("://") {
        Some(("https", authority)) => (Scheme::Https, authority),
        Some(("http", authority)) => (Scheme::Http, authority),
        _ => return Err("UPSTREAM is no URL with http or https".to_owned()),
    };
    let fields = Fields::new();
    if let Ok(token) = env::var("UPSTREAM_TOKEN") {
        let bearer = format!("Bearer {token}");
        fields.append("authorization", bearer.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme of UPSTREAM is invalid")?;
    request.set_authority(Some(authority.trim_end_matches('/'))).map_err(|()| "the host of UPSTREAM is invalid")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path is invalid")?;
    let describe = |error: ErrorCode| format!("the upstream does not answer: {error:?}");
    let response = outgoing_handler::handle(request, None).map_err(describe)?;
    response.subscribe().block();
    response.get().expect("it is ready").expect("the first call succeeds").map_err(describe)
}

/// Sends the status, some fields and the body of `upstream` as the response.
fn pass_on(upstream: &IncomingResponse, response: ResponseOutparam) {
    let fields = Fields::new();
    for (name, value) in upstream.headers().entries() {
        if PASSED.contains(&name.as_str()) {
            let _ = fields.append(&name, &value);
        }
    }
    let head = OutgoingResponse::new(fields);
    head.set_status_code(upstream.status()).expect("the status is valid");
    let body = head.body().expect("the first call succeeds");
    ResponseOutparam::set(response, Ok(head));
    let incoming = upstream.consume().expect("the first call succeeds");
    let (input, output) =
        (incoming.stream().expect("the first call succeeds"), body.write().expect("the first call succeeds"));
    loop {
        match output.blocking_splice(&input, 1 << 16) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            // Without its end, the client learns that the body is incomplete.
            Err(StreamError::LastOperationFailed(_)) => return,
        }
    }
    drop(output);
    let _ = OutgoingBody::finish(body, None);
}

fn fail(response: ResponseOutparam, status: u16, reason: &str) {
    let head = OutgoingResponse::new(Fields::new());
    head.set_status_code(status).expect("the status is valid");
    let body = head.body().expect("the first call succeeds");
    ResponseOutparam::set(response, Ok(head));
    let stream = body.write().expect("the first call succeeds");
    let _ = stream.blocking_write_and_flush(format!("{reason}\n").as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}
