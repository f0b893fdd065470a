//! Answers HTTP requests. The first part of the path selects what it does:
//!
//! | path | response |
//! |---|---|
//! | `/hello` | `hello` |
//! | `/echo` | the body of the request, streamed, and its trailers |
//! | `/head` | the head of the request, as text |
//! | `/none` | none |
//! | `/trap` | none: it traps |
//! | `/trap-after` | a head and a piece of the body, then a trap |
//! | `/error` | an error of `wasi:http` |
//! | `/print` | `ok`, and lines on both standard outputs |
//! | `/status/STATUS` | an empty body with this status |
//! | `/fields` | repeated, binary and empty header fields |
//! | `/refused` | the header fields that the host refuses, as text |
//! | `/trailers` | `body`, and the trailer `x-sum` |
//! | `/empty` | 204 |
//! | `/size` | the length of the body of the request |
//! | `/count` | how many requests to it this instance has answered |
//! | `/count-print` | the same, and it is a line on stderr |
//! | `/grow` | the same, after it has taken 4 MiB more |
//! | others | 404, unless it is one of [`hostile`] |

#![allow(clippy::disallowed_methods, clippy::exit, reason = "a guest has no other way to trap and to exit")]

mod fields;
mod hostile;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// The requests that this instance has counted.
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Web;

wasip2::http::proxy::export!(Web);

impl wasip2::exports::http::incoming_handler::Guest for Web {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut parts = path.split(['?', '/']).skip(1);
        let (name, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match name {
            "hello" => text(response, 200, "hello\n"),
            "echo" => echo(&request, response),
            "head" => text(response, 200, &head(&request)),
            "none" => drop(response),
            "trap" => std::process::abort(),
            "trap-after" => {
                let body = start(response, 200);
                let stream = body.write().expect("the first call succeeds");
                stream.blocking_write_and_flush(b"half").expect("the client reads");
                std::process::abort()
            }
            "error" => ResponseOutparam::set(response, Err(ErrorCode::InternalError(Some("on purpose".to_owned())))),
            "print" => {
                println!("to stdout");
                eprintln!("to stderr");
                text(response, 200, "ok\n");
            }
            "count" => text(response, 200, &count()),
            "count-print" => {
                let count = count();
                eprint!("{count}");
                text(response, 200, &count);
            }
            "grow" => {
                std::mem::forget(std::hint::black_box(vec![1_u8; 4 << 20]));
                text(response, 200, &count());
            }
            _ => {
                let response = fields::answer(name, rest, &request, response);
                if let Some(response) = response.and_then(|response| hostile::answer(name, rest, response)) {
                    text(response, 404, "no such path\n");
                }
            }
        }
    }
}

/// Counts a request, and returns the count as a line.
fn count() -> String {
    format!("{}\n", COUNT.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Sends the head of a response, and returns its body.
fn start(response: ResponseOutparam, status: u16) -> OutgoingBody {
    let head = OutgoingResponse::new(Fields::new());
    head.set_status_code(status).expect("the status is valid");
    set(response, head)
}

/// Sends this head, and returns the body.
fn set(response: ResponseOutparam, head: OutgoingResponse) -> OutgoingBody {
    let body = head.body().expect("the first call succeeds");
    ResponseOutparam::set(response, Ok(head));
    body
}

fn text(response: ResponseOutparam, status: u16, text: &str) {
    let body = start(response, status);
    let stream = body.write().expect("the first call succeeds");
    for piece in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(piece).expect("the client reads");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

fn echo(request: &IncomingRequest, response: ResponseOutparam) {
    let incoming = request.consume().expect("the first call succeeds");
    let input = incoming.stream().expect("the first call succeeds");
    let fields = Fields::new();
    for names in request.headers().get("trailer") {
        fields.append("trailer", &names).expect("the field was valid");
    }
    let body = set(response, OutgoingResponse::new(fields));
    let output = body.write().expect("the first call succeeds");
    loop {
        match output.blocking_splice(&input, 1 << 16) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(error) => panic!("cannot copy the body: {error:?}"),
        }
    }
    drop((input, output));
    let future = IncomingBody::finish(incoming);
    future.subscribe().block();
    let trailers = future.get().expect("it is ready").expect("the first call succeeds").expect("the body is whole");
    OutgoingBody::finish(body, trailers).expect("the body is complete");
}

fn head(request: &IncomingRequest) -> String {
    let mut text = format!(
        "{:?} {:?} {} {}\n",
        request.method(),
        request.scheme(),
        request.authority().unwrap_or_default(),
        request.path_with_query().unwrap_or_default()
    );
    for (name, value) in request.headers().entries() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(&value));
    }
    text
}
