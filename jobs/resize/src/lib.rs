//! A job that answers HTTP requests: the body is a PNG, and the response a PNG that is at most `?width=` pixels wide.
//!
//! It shrinks the image row by row as it arrives, see the job `thumbnail`.
//!
//! | status | if |
//! |---|---|
//! | 400 | the query is wrong, or the body is no well-formed PNG or too large |
//! | 405 | the method is neither POST nor PUT |
//! | 415 | the field `content-type` is there and not `image/png` |

mod query;

use std::io::BufReader;
use std::num::NonZeroU32;

use thumbnail::image;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// The most bytes that one call may write and flush.
const WRITE: usize = 4096;

struct Resize;

wasip2::http::proxy::export!(Resize);

impl wasip2::exports::http::incoming_handler::Guest for Resize {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        match resize(&request) {
            Ok(png) => respond(response, 200, "image/png", &png),
            Err((status, message)) => respond(response, status, "text/plain", format!("{message}\n").as_bytes()),
        }
    }
}

/// Returns the smaller image.
///
/// # Errors
/// The status, and a message.
fn resize(request: &IncomingRequest) -> Result<Vec<u8>, (u16, String)> {
    if !matches!(request.method(), Method::Post | Method::Put) {
        return Err((405, "send a PNG as the body of a POST".to_owned()));
    }
    let types = request.headers().get("content-type");
    if let Some(other) = types.iter().find(|value| !value.eq_ignore_ascii_case(b"image/png")) {
        return Err((415, format!("the body is {} and not image/png", String::from_utf8_lossy(other))));
    }
    let width = query::width(&request.path_with_query().unwrap_or_default()).map_err(|message| (400, message))?;
    shrink(request, width).map_err(|error| (400, error.to_string()))
}

fn shrink(request: &IncomingRequest, width: NonZeroU32) -> Result<Vec<u8>, image::ImageError> {
    let body = request.consume().expect("the first call succeeds");
    let mut stream = body.stream().expect("the first call succeeds");
    let png = image::with_width(BufReader::new(&mut stream), width);
    drop(stream);
    drop(IncomingBody::finish(body));
    png
}

fn respond(response: ResponseOutparam, status: u16, media_type: &str, bytes: &[u8]) {
    let fields = Fields::new();
    let length = bytes.len().to_string();
    let mut list = vec![("content-type", media_type), ("content-length", &length)];
    if status == 405 {
        list.push(("allow", "POST, PUT"));
    }
    for (name, value) in list {
        fields.append(name, value.as_bytes()).expect("the field is valid");
    }
    let head = OutgoingResponse::new(fields);
    head.set_status_code(status).expect("the status is valid");
    let body = head.body().expect("the first call succeeds");
    ResponseOutparam::set(response, Ok(head));
    let output = body.write().expect("the first call succeeds");
    // Writing fails only if the client is gone.
    let is_written = bytes.chunks(WRITE).all(|piece| output.blocking_write_and_flush(piece).is_ok());
    drop(output);
    if is_written {
        let _ = OutgoingBody::finish(body, None);
    }
}
