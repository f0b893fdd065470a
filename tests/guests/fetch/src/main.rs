//! Sends HTTP requests. Its arguments are the method and the URL, then:
//!
//! | argument | does |
//! |---|---|
//! | `-H NAME:VALUE` | adds a field; `$NAME` in it stands for a variable |
//! | `-b TEXT` | sends a body; `$NAME` in it stands for a variable |
//! | `-B BYTES` | sends a body of that length |
//! | `-F COUNT` | adds that many fields |
//! | `-l LENGTH` | makes the path longer by that many letters |
//! | `-n COUNT` | sends the request that often, one after the other |
//! | `-t MILLISECONDS` | sets all three time limits |
//! | `-d` | drops the response after its head |
//!
//! Prints the status, the fields that start with `x-` and the body. Prints `error: ` and the code if there is none, and exits with 1.

#![allow(clippy::disallowed_methods, clippy::exit, reason = "a guest reads its own variables and exits with a code")]

use std::io::Write as _;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

#[derive(Default)]
struct Arguments {
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    count: usize,
    limit: Option<u64>,
    drops_response: bool,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (method, mut url) = (words.next().expect("a method"), words.next().expect("a URL"));
    let mut arguments = Arguments { count: 1, ..Arguments::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "-H" => {
                let field = expand(&value());
                let (name, value) = field.split_once(':').expect("a colon");
                arguments.fields.push((name.to_owned(), value.to_owned()));
            }
            "-b" => arguments.body = expand(&value()).into_bytes(),
            "-B" => arguments.body = vec![b'x'; value().parse().expect("a number")],
            "-F" => {
                let count: usize = value().parse().expect("a number");
                arguments.fields.extend((0..count).map(|index| (format!("x-{index}"), "v".to_owned())));
            }
            "-l" => url += &"x".repeat(value().parse().expect("a number")),
            "-n" => arguments.count = value().parse().expect("a number"),
            "-t" => arguments.limit = Some(value().parse().expect("a number")),
            "-d" => arguments.drops_response = true,
            other => panic!("unknown argument {other}"),
        }
    }
    for _ in 0..arguments.count {
        if let Err(error) = fetch(&method, &url, &arguments) {
            println!("error: {error}");
            std::process::exit(1);
        }
    }
}

/// Replaces each `$NAME` by the variable.
fn expand(text: &str) -> String {
    std::env::vars().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), &value))
}

fn fetch(method: &str, url: &str, arguments: &Arguments) -> Result<(), String> {
    let code = |error: ErrorCode| format!("{error:?}");
    let fields = Fields::new();
    for (name, value) in &arguments.fields {
        fields.append(name, value.as_bytes()).map_err(|error| format!("field {name}: {error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "method refused")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme refused")?;
    request.set_authority(Some(authority)).map_err(|()| "authority refused")?;
    request.set_path_with_query(Some(path).filter(|path| !path.is_empty())).map_err(|()| "path refused")?;
    let body = request.body().map_err(|()| "no body")?;
    let options = RequestOptions::new();
    let limit = arguments.limit.map(|limit| limit * 1_000_000);
    let set = [
        options.set_connect_timeout(limit),
        options.set_first_byte_timeout(limit),
        options.set_between_bytes_timeout(limit),
    ];
    assert!(set.iter().all(Result::is_ok));
    let response = outgoing_handler::handle(request, Some(options)).map_err(code)?;
    let sent = send_body(body, &arguments.body);
    response.subscribe().block();
    let response = response.get().expect("it is ready").expect("the first call succeeds").map_err(code)?;
    sent?;
    if arguments.drops_response {
        println!("{}", response.status());
        return Ok(());
    }
    print(&response)
}

fn send_body(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "no stream")?;
    for piece in bytes.chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            // The response says why.
            return Ok(());
        }
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))
}

fn print(response: &IncomingResponse) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", response.status()).expect("stdout is open");
    for (name, value) in response.headers().entries() {
        if name.starts_with("x-") {
            writeln!(output, "{name}: {}", String::from_utf8_lossy(&value)).expect("stdout is open");
        }
    }
    let body = response.consume().expect("the first call succeeds");
    let stream = body.stream().expect("the first call succeeds");
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => output.write_all(&bytes).expect("stdout is open"),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(format!("body: {code:?}"));
            }
        }
    }
    drop((stream, body));
    output.write_all(b"\n").expect("stdout is open");
    Ok(())
}
