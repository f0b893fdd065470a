//! The handler of HTTP requests. The first part of the path selects what it does:
//!
//! | path | response |
//! |---|---|
//! | `/hello` | `hello` |
//! | `/echo` | the body of the request, streamed, and its trailers, which both heads announce |
//! | `/head` | the head of the request, as text |
//! | `/never` | none: it waits for something that never happens |
//! | `/trap` | none: it traps |
//! | `/trap-after` | a head and a piece of the body, then a trap |
//! | `/endless` | a body without end |
//! | `/short` | a body that is shorter than its `content-length` |
//! | `/error` | an error of `wasi:http` |
//! | `/fetch` | the error of a request to another server |
//! | `/print` | `ok`, and a line on stdout |
//! | others | 404 |

use std::fmt::Write as _;

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::{self, FutureReader, StreamReader};
use wasip3::{wit_future, wit_stream};

type Trailers = Result<Option<Fields>, ErrorCode>;

pub(crate) async fn handle(request: Request) -> Result<Response, ErrorCode> {
    let path = request.get_path_with_query().unwrap_or_default();
    match path.split(['?', '/']).nth(1).unwrap_or_default() {
        "hello" => Ok(text(200, "hello\n")),
        "echo" => Ok(echo(request)),
        "head" => Ok(text(200, &head(&request))),
        "never" => {
            let (_writer, reader) = wit_stream::new::<u8>();
            reader.collect().await;
            Ok(text(200, "it happened\n"))
        }
        "trap" => std::process::abort(),
        "trap-after" => Ok(trap_after()),
        "endless" => Ok(endless()),
        "short" => {
            let fields = Fields::from_list(&[("content-length".to_owned(), b"100".to_vec())]).expect("it is valid");
            Ok(text_with(fields, 200, "short"))
        }
        "error" => Err(ErrorCode::InternalError(Some("on purpose".to_owned()))),
        "fetch" => Ok(text(200, &fetch().await)),
        "print" => {
            println!("to stdout");
            Ok(text(200, "ok\n"))
        }
        _ => Ok(text(404, "no such path\n")),
    }
}

fn respond(fields: Fields, status: u16, body: StreamReader<u8>, trailers: FutureReader<Trailers>) -> Response {
    let (response, _sent) = Response::new(fields, Some(body), trailers);
    response.set_status_code(status).expect("the status is valid");
    response
}

/// Returns a future of trailers, of which there are none.
fn no_trailers() -> FutureReader<Trailers> {
    let (writer, reader) = wit_future::new(|| Ok(None));
    // Dropping the writer writes the default.
    drop(writer);
    reader
}

fn text(status: u16, text: &str) -> Response {
    text_with(Fields::new(), status, text)
}

fn text_with(fields: Fields, status: u16, text: &str) -> Response {
    let (mut writer, body) = wit_stream::new();
    let bytes = text.as_bytes().to_vec();
    wit_bindgen::spawn_local(async move { drop(writer.write_all(bytes).await) });
    respond(fields, status, body, no_trailers())
}

/// Copies the body through the memory of the guest.
fn echo(request: Request) -> Response {
    let fields = Fields::new();
    fields.set("trailer", &request.get_headers().get("trailer")).expect("they are valid");
    let (done, consumed) = wit_future::new(|| Ok(()));
    let (mut input, trailers) = Request::consume_body(request, consumed);
    drop(done);
    let (mut output, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            let (result, bytes) = input.read(buffer).await;
            if !matches!(result, wit_bindgen::StreamResult::Complete(_)) || !output.write_all(bytes).await.is_empty() {
                break;
            }
            buffer = Vec::with_capacity(1 << 16);
        }
    });
    respond(fields, 200, body, trailers)
}

fn trap_after() -> Response {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"half".to_vec()).await;
        std::process::abort()
    });
    respond(Fields::new(), 200, body, no_trailers())
}

fn endless() -> Response {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move { while writer.write_all(vec![b'x'; 1 << 16]).await.is_empty() {} });
    respond(Fields::new(), 200, body, no_trailers())
}

async fn fetch() -> String {
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers(), None);
    request.set_scheme(Some(&Scheme::Http)).expect("the scheme is valid");
    request.set_authority(Some("127.0.0.1:9")).expect("the authority is valid");
    request.set_path_with_query(Some("/")).expect("the path is valid");
    match client::send(request).await {
        Ok(response) => format!("status {}\n", response.get_status_code()),
        Err(error) => format!("{error:?}\n"),
    }
}

fn head(request: &Request) -> String {
    let mut text = format!(
        "{:?} {:?} {} {}\n",
        request.get_method(),
        request.get_scheme(),
        request.get_authority().unwrap_or_default(),
        request.get_path_with_query().unwrap_or_default()
    );
    for (name, value) in request.get_headers().copy_all() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(&value));
    }
    text
}
