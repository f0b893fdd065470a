//! The plain response: the body is stdout. The outcome is in the head, in trailers, or shows in whether the body is cut.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd};
use futures_util::stream::{self, Stream, StreamExt as _};
use hyper::body::Frame;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, TRAILER};
use hyper::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::super::body::{self, Aborted, Body};
use super::super::disconnect::{CancelOnDisconnect, Client, FrameResult};
use super::super::error::Error;
use super::super::headers::{ERROR, EXIT_CODE, OUTCOME};
use super::super::state::ApiState;
use super::super::stdin::StdinEnd;
use super::super::timeouts::{self, ResponseKind};
use super::output::{BufferedOutput, Output};
use super::spill::{self, Spill};

/// The most bytes of the reason why a run was not started, in a header.
const MAX_REASON: usize = 4 << 10;
/// What is percent-encoded in such a header, besides characters that are not ASCII.
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b'%');

/// How long the head of the response waits for the end of the run.
const HEAD_DELAY: Duration = Duration::from_millis(10);
/// Bytes of output that are buffered while the head waits; with more, the response starts.
const HEAD_BUFFER: usize = 16 << 10;
/// Bytes of output that are buffered for a client of HTTP/1.0.
const HTTP10_BUFFER: usize = 1 << 20;

/// Responds with the output of `job`.
///
/// The response to a run that ends within 10 ms with up to 16 KiB of output is sent complete, with the outcome in its head. Any other is
/// streamed, with the outcome in trailers if the client accepts them. For a client that does not, the body is cut unless the run exits 0.
pub(super) async fn respond(
    state: &ApiState,
    job: &Job,
    mut stdout: Source,
    stdin_end: StdinEnd,
    accepts_trailers: bool,
    client: Client,
) -> Response<Body> {
    let cancel_on_disconnect = CancelOnDisconnect::new(job);
    let mut output = BufferedOutput::default();
    if let Some(end) = output.read_to_end_within(Some(HEAD_DELAY), &mut stdout, HEAD_BUFFER, job).await {
        return complete_response(output.into_bytes(), &end, &stdin_end);
    }
    let stdout = Output::new(stdout);
    if !stdin_end.is_cancelled() {
        let max_bytes = job.limits().stdout;
        let spill = Spill { folder: state.settings.spill_folder.clone(), max_bytes, until: stdin_end };
        spill::spawn(&state.tasks, stdout.downgrade(), spill, job);
    }
    let frames = response_frames(job.clone(), output.into_bytes(), stdout, accepts_trailers);
    let body = client.stream_response(cancel_on_disconnect, frames);
    let mut response = body::response(StatusCode::OK, "application/octet-stream", body);
    timeouts::set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    if accepts_trailers {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("capstan-outcome, capstan-exit-code"));
    }
    response
}

/// Responds over HTTP/1.0, which has no way to tell after the body that the run failed: the response is sent complete, with the outcome in its
/// head.
///
/// # Errors
/// [`Error`], 505 `http_version_not_supported`, if the run has more output than is buffered. The run is cancelled.
pub(super) async fn respond_http10(
    job: &Job,
    mut stdout: Source,
    stdin_end: &StdinEnd,
    client: &Client,
) -> Result<Response<Body>, Error> {
    let _cancel_on_disconnect = CancelOnDisconnect::new(job);
    let mut output = BufferedOutput::default();
    let end = tokio::select! {
        end = output.read_to_end(&mut stdout, HTTP10_BUFFER, job) => end,
        () = client.disconnected() => None,
    };
    match end {
        Some(end) => Ok(complete_response(output.into_bytes(), &end, stdin_end)),
        None => Err(Error::http10_output_too_large(HTTP10_BUFFER)),
    }
}

fn complete_response(output: Bytes, end: &JobEnd, stdin_end: &StdinEnd) -> Response<Body> {
    let mut response = body::response(StatusCode::OK, "application/octet-stream", body::full(output));
    insert_outcome(response.headers_mut(), end);
    if !stdin_end.is_cancelled() {
        // The rest of the request will not be read.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns what the response sends: `buffered`, the rest of stdout, and how the run ended.
fn response_frames(
    job: Job,
    buffered: Bytes,
    stdout: Output,
    accepts_trailers: bool,
) -> impl Stream<Item = FrameResult> + Send {
    let buffered = stream::iter(Some(buffered).filter(|bytes| !bytes.is_empty()));
    let end = async move {
        let end = job.wait().await;
        match end.outcome.is_success() {
            _ if accepts_trailers => {
                let mut trailers = HeaderMap::new();
                insert_outcome(&mut trailers, &end);
                Some(Ok(Frame::trailers(trailers)))
            }
            true => None,
            false => Some(Err(Aborted)),
        }
    };
    let data = buffered.chain(stdout).map(|bytes| Ok(Frame::data(bytes)));
    data.chain(stream::once(end).filter_map(std::future::ready))
}

fn insert_outcome(headers: &mut HeaderMap, end: &JobEnd) {
    headers.insert(OUTCOME, HeaderValue::from_static(end.outcome.kind()));
    headers.insert(EXIT_CODE, HeaderValue::from(u16::from(end.outcome.exit_code())));
    if let (Outcome::Refused { .. }, Some(reason)) = (&end.outcome, &end.error) {
        headers.insert(ERROR, reason_value(reason));
    }
}

/// Returns the reason why a run was not started as the value of a header.
fn reason_value(reason: &str) -> HeaderValue {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let encoded = utf8_percent_encode(reason, NOT_IN_HEADERS).to_string();
    HeaderValue::from_str(&encoded).expect("only visible ASCII characters and spaces are not encoded")
}
