//! Answers HTTP requests with the component crate of wasmCloud. It uses no interface of wasmCloud itself.

use wasmcloud_component::http;

struct Component;

http::export!(Component);

impl http::Server for Component {
    fn handle(request: http::IncomingRequest) -> http::Result<http::Response<impl http::OutgoingBody>> {
        let path = request.uri().path().to_owned();
        let (status, body) = match path.as_str() {
            "/hello" => (200, b"hello from wasmCloud\n".to_vec()),
            "/echo" => (200, read(request)?),
            _ => (404, b"no such path\n".to_vec()),
        };
        http::Response::builder().status(status).header("x-language", "wasmCloud").body(body).map_err(internal)
    }
}

fn read(request: http::IncomingRequest) -> http::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    request.into_body().read_to_end(&mut bytes).map_err(internal)?;
    Ok(bytes)
}

fn internal(error: impl ToString) -> http::ErrorCode {
    http::ErrorCode::InternalError(Some(error.to_string()))
}
