//! Greets over HTTP: `/?name=Ada` answers `Hello, Ada!`. A run answers one request.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Job;

wasip2::http::proxy::export!(Job);

impl Guest for Job {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/" => send(response, 200, &greet(query)),
            _ => send(response, 404, "no such page\n"),
        }
    }
}

fn greet(query: &str) -> String {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    let name = query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or("world");
    format!("{greeting}, {name}!\n")
}

fn send(response: ResponseOutparam, status: u16, text: &str) {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain; charset=utf-8").expect("the header is valid");
    let head = OutgoingResponse::new(headers);
    head.set_status_code(status).expect("the status is valid");
    let body = head.body().expect("the body was not taken before");
    ResponseOutparam::set(response, Ok(head));
    let stream = body.write().expect("the stream was not taken before");
    // A client that has gone needs no response.
    if stream.blocking_write_and_flush(text.as_bytes()).is_ok() {
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
