//! The plain answer: the body is stdout, and the outcome stands in the head, in trailers, or in how the body ends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd};
use hyper::body::Frame;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, TRAILER};
use hyper::{Response, StatusCode};
use tokio::io::AsyncReadExt as _;

use super::super::Api;
use super::super::body::{self, Abort, Body};
use super::super::disconnect::{Client, Leave, Pieces};
use super::super::input::InputEnd;
use super::super::timeouts::{self, Reading};
use super::spill::{self, Spill};
use super::{EXIT_CODE, OUTCOME};

/// The head waits for the end of the run for this long.
const HOLD: Duration = Duration::from_millis(10);
/// The head waits for no more output than this many bytes.
const HELD: usize = 16 << 10;
/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;

/// Answers with what `job` prints.
///
/// A run that ends within 10 ms with 16 KiB of output or less is told whole, with its outcome in the head. Any other is told as it goes
/// on: its outcome comes in trailers where the client takes those; a client that does not sees the body cut unless the run exits 0.
pub(super) async fn answer(
    api: &Api,
    job: &Job,
    mut stdout: Source,
    input: InputEnd,
    takes_trailers: bool,
    client: Client,
) -> Response<Body> {
    let leave = Leave::of(job);
    let mut held = BytesMut::with_capacity(HELD + 1);
    if let Ok(Some(end)) = tokio::time::timeout(HOLD, short_end(&mut stdout, &mut held, job)).await {
        return whole(held.freeze(), &end, &input);
    }
    if !input.is_cancelled() {
        let most = job.limits().stdout;
        stdout =
            spill::through(&api.tasks, stdout, Spill { folder: api.settings.spill.clone(), most, until: input }, job);
    }
    let (pieces, body) = client.answer(leave);
    api.tasks.spawn("api", "answer of a run", tell(job.clone(), held.freeze(), stdout, pieces, takes_trailers));
    let mut response = body::typed(StatusCode::OK, "application/octet-stream", body);
    timeouts::read_as(&mut response, Reading::Run(job.clone()));
    if takes_trailers {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("capstan-outcome, capstan-exit-code"));
    }
    response
}

/// Reads what a short run prints, and its end; `None` where it prints more. Cancel-safe: what was read is in `held`.
async fn short_end(stdout: &mut Source, held: &mut BytesMut, job: &Job) -> Option<JobEnd> {
    while held.len() <= HELD {
        // A pipe is read without errors.
        if matches!(stdout.read_buf(held).await, Ok(0) | Err(_)) {
            return Some(job.wait().await);
        }
    }
    None
}

fn whole(printed: Bytes, end: &JobEnd, input: &InputEnd) -> Response<Body> {
    let mut response = body::typed(StatusCode::OK, "application/octet-stream", body::whole(printed));
    response.headers_mut().extend(outcome(end));
    if !input.is_cancelled() {
        // The rest of the request will not be read.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn tell(job: Job, held: Bytes, mut stdout: Source, pieces: Pieces, takes_trailers: bool) {
    let mut next = held;
    let mut buffer = BytesMut::new();
    loop {
        if !next.is_empty() && pieces.send(Ok(Frame::data(next))).await.is_err() {
            return;
        }
        buffer.reserve(CHUNK);
        if matches!(stdout.read_buf(&mut buffer).await, Ok(0) | Err(_)) {
            break;
        }
        next = buffer.split().freeze();
    }
    let end = job.wait().await;
    let last = match end.outcome.is_success() {
        _ if takes_trailers => Ok(Frame::trailers(outcome(&end))),
        true => return,
        false => Err(Abort),
    };
    // A client that has left needs no end.
    let _ = pieces.send(last).await;
}

fn outcome(end: &JobEnd) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(OUTCOME, HeaderValue::from_static(end.outcome.kind()));
    headers.insert(EXIT_CODE, HeaderValue::from(u16::from(end.outcome.exit_code())));
    headers
}
