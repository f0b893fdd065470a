//! A job that answers HTTP requests: it sends the body of the request back, changed, while it still arrives.
//!
//! | path | change |
//! |---|---|
//! | `/upper` | ASCII letters become upper case |
//! | `/number` | a number before each line |
//!
//! It holds one piece of the body in memory, whatever the length of the body.

mod filter;

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

use filter::Filter;

/// The largest piece that is read at once, in bytes.
const PIECE: u64 = 64 << 10;
/// The most bytes that one call may write and flush.
const WRITE: usize = 4096;

struct Transform;

wasip2::http::proxy::export!(Transform);

impl wasip2::exports::http::incoming_handler::Guest for Transform {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let filter = Filter::of_path(path.split('?').next().unwrap_or_default());
        match (request.method(), filter) {
            (_, None) => refuse(response, 404, &[], "not found: the paths are /upper and /number\n"),
            (Method::Post | Method::Put, Some(filter)) => transform(&request, response, filter),
            _ => refuse(response, 405, &[("allow", "POST, PUT")], "send the text as the body of a POST\n"),
        }
    }
}

fn transform(request: &IncomingRequest, response: ResponseOutparam, mut filter: Filter) {
    let incoming = request.consume().expect("the first call succeeds");
    let input = incoming.stream().expect("the first call succeeds");
    let body = start(response, 200, &[("content-type", "text/plain")]);
    let output = body.write().expect("the first call succeeds");
    let is_whole = loop {
        match input.blocking_read(PIECE) {
            Ok(piece) => {
                if write(&output, &filter.apply(piece)).is_err() {
                    break false;
                }
            }
            Err(StreamError::Closed) => break true,
            Err(StreamError::LastOperationFailed(_)) => break false,
        }
    };
    drop((input, output));
    drop(IncomingBody::finish(incoming));
    // Without its end, the client learns that the response is incomplete.
    if is_whole {
        // It fails only if the client is gone.
        let _ = OutgoingBody::finish(body, None);
    }
}

fn refuse(response: ResponseOutparam, status: u16, fields: &[(&str, &str)], message: &str) {
    let body = start(response, status, fields);
    let output = body.write().expect("the first call succeeds");
    let _ = write(&output, message.as_bytes());
    drop(output);
    let _ = OutgoingBody::finish(body, None);
}

fn start(response: ResponseOutparam, status: u16, fields: &[(&str, &str)]) -> OutgoingBody {
    let list = Fields::new();
    for (name, value) in fields {
        list.append(name, value.as_bytes()).expect("the field is valid");
    }
    let head = OutgoingResponse::new(list);
    head.set_status_code(status).expect("the status is valid");
    let body = head.body().expect("the first call succeeds");
    ResponseOutparam::set(response, Ok(head));
    body
}

fn write(output: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(WRITE).try_for_each(|piece| output.blocking_write_and_flush(piece))
}
