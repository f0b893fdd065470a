//! Answers HTTP requests with the SDK of Spin. It uses no interface of Spin itself.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;

#[http_component]
fn handle(request: Request) -> impl IntoResponse {
    let (status, body) = match request.path() {
        "/hello" => (200, b"hello from Spin\n".to_vec()),
        "/echo" => (200, request.into_body()),
        _ => (404, b"no such path\n".to_vec()),
    };
    Response::builder().status(status).header("x-language", "Spin").body(body).build()
}
