//! What no well-behaved handler does.

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

use super::{set, start, text};

/// Answers in the way that `name` selects. Returns the outparam if it selects none.
pub(super) fn answer(name: &str, rest: &str, response: ResponseOutparam) -> Option<ResponseOutparam> {
    match name {
        "drop-body" => drop(write(start(response, 200), b"half")),
        "length" => length(rest, response),
        "endless" => {
            let (_body, stream) = open(response);
            while stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
        }
        "bytes" => {
            let (body, stream) = open(response);
            for byte in (b'a'..=b'z').cycle().take(rest.parse().unwrap_or(1000)) {
                if stream.blocking_write_and_flush(&[byte]).is_err() {
                    return None;
                }
            }
            drop(stream);
            OutgoingBody::finish(body, None).expect("the body is complete");
        }
        "hold" => hold(),
        "hold-after" => {
            let _open = write(start(response, 200), b"half");
            hold();
        }
        "spin" => spin(),
        "trap-complete" => {
            text(response, 200, "complete\n");
            std::process::abort()
        }
        "exit" => std::process::exit(3),
        "many-fields" => many_fields(response),
        "memory" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
            }
        }
        _ => return Some(response),
    }
    None
}

/// Announces one length and sends another: `/length/ANNOUNCED-SENT`.
fn length(rest: &str, response: ResponseOutparam) {
    let (announced, sent) = rest.split_once('-').expect("the path has two numbers");
    let fields = Fields::new();
    fields.append("content-length", announced.as_bytes()).expect("the length is a valid field");
    let head = OutgoingResponse::new(fields);
    let body = set(response, head);
    let stream = body.write().expect("the first call succeeds");
    let bytes = vec![b'x'; sent.parse().expect("the length is a number")];
    // The host may refuse either the bytes or the end.
    let _ = stream.blocking_write_and_flush(&bytes);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Sets as many fields as the host takes, up to a million, and says how many that were.
fn many_fields(response: ResponseOutparam) {
    let fields = Fields::new();
    let taken = (0..1_000_000).take_while(|i| fields.append(&format!("x-{i}"), b"1").is_ok()).count();
    eprintln!("{taken} fields");
    let body = set(response, OutgoingResponse::new(fields));
    OutgoingBody::finish(body, None).expect("the body is complete");
}

fn open(response: ResponseOutparam) -> (OutgoingBody, OutputStream) {
    let body = start(response, 200);
    let stream = body.write().expect("the first call succeeds");
    (body, stream)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> OutgoingBody {
    let stream = body.write().expect("the first call succeeds");
    stream.blocking_write_and_flush(bytes).expect("the client reads");
    drop(stream);
    body
}

fn hold() {
    std::thread::sleep(std::time::Duration::from_secs(100_000));
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}
