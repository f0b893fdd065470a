//! The response of a guest, as its client gets it.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::http::{Fields, PendingResponse, ResponseHead, Trailers};
use capstan_core::outcome::Outcome;
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd, StartError};
use futures_util::stream::{self, Stream, StreamExt as _};
use hyper::body::Frame;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};

use super::super::body::{self, Aborted, Body};
use super::super::disconnect::{CancelOnDisconnect, Client, FrameResult};
use super::super::error::Error;
use super::super::run::output::{BufferedOutput, Output};
use super::super::stdin::StdinEnd;
use super::super::timeouts::{self, ResponseKind};

/// Bytes of a body that are collected while the run ends; with more, the response is streamed.
const COMPLETE: usize = 64 << 10;
/// How long the response waits for the end of a run that has written the whole body.
const END_DELAY: Duration = Duration::from_millis(10);

/// Waits for the head of the response, and returns the response.
///
/// # Errors
/// [`Error`], 502 or 504, if the run ends without a head, or fails before anything was sent.
pub(super) async fn respond(
    job: &Job,
    mut pending: PendingResponse,
    mut stdout: Source,
    stdin_end: &StdinEnd,
    accepts_trailers: bool,
    client: Client,
) -> Result<Response<Body>, Error> {
    let cancel_on_disconnect = CancelOnDisconnect::new(job);
    let head = tokio::select! {
        biased;
        head = pending.head() => head,
        () = client.disconnected() => None,
    };
    let Some(head) = head else {
        drop(cancel_on_disconnect);
        let end = job.wait().await;
        return Err(failure(job, &end));
    };
    let mut response = head_of(&head, body::full(Bytes::new()))?;
    let mut output = BufferedOutput::default();
    let delay = pending.is_whole.then_some(END_DELAY);
    if let Some(end) = output.read_to_end_within(delay, &mut stdout, COMPLETE, job).await {
        if !end.outcome.is_success() {
            return Err(failure(job, &end));
        }
        if pending.trailers.get().is_none() || !accepts_trailers {
            *response.body_mut() = body::full(output.into_bytes());
            close_if_unread(&mut response, stdin_end);
            return Ok(response);
        }
    }
    let frames = frames(job.clone(), output.into_bytes(), stdout, pending.trailers, accepts_trailers);
    *response.body_mut() = client.stream_response(cancel_on_disconnect, frames);
    timeouts::set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    close_if_unread(&mut response, stdin_end);
    Ok(response)
}

/// Returns a response with this head.
///
/// # Errors
/// [`Error`], 502, if the status or a field is none that HTTP allows, or one that only the daemon may set.
fn head_of(head: &ResponseHead, body: Body) -> Result<Response<Body>, Error> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status)
        .ok()
        // An informational response is not the answer, and 101 would change the protocol.
        .filter(|status| !status.is_informational())
        .ok_or_else(|| Error::bad_gateway(format!("the handler responded with the status {}", head.status)))?;
    *response.headers_mut() = to_header_map(&head.fields)?;
    Ok(response)
}

fn to_header_map(fields: &Fields) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value.clone()));
        let (Ok(name), Ok(value)) = parsed else {
            return Err(Error::bad_gateway(format!("the handler responded with the invalid header {name:?}")));
        };
        if name != CONNECTION && name != TRANSFER_ENCODING {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// Ends the connection with the response if the rest of the request will not be read.
fn close_if_unread(response: &mut Response<Body>, stdin_end: &StdinEnd) {
    if !stdin_end.is_cancelled() && response.headers().contains_key(CONTENT_LENGTH) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Returns what the response sends: `collected`, the rest of stdout, and the trailers.
fn frames(
    job: Job,
    collected: Bytes,
    stdout: Source,
    trailers: Trailers,
    accepts_trailers: bool,
) -> impl Stream<Item = FrameResult> + Send {
    let collected = stream::iter(Some(collected).filter(|bytes| !bytes.is_empty()));
    let end = async move {
        let end = job.wait().await;
        if !end.outcome.is_success() {
            return Some(Err(Aborted));
        }
        let fields = trailers.get().filter(|_| accepts_trailers)?;
        Some(to_header_map(fields).map(Frame::trailers).map_err(|_| Aborted))
    };
    let data = collected.chain(Output::new(stdout)).map(|bytes| Ok(Frame::data(bytes)));
    data.chain(stream::once(end).filter_map(std::future::ready))
}

/// Returns the error of a job that could not be started. A full queue is 503 here: the client knows nothing of jobs.
pub(super) fn refused(error: StartError) -> Error {
    match error {
        StartError::Busy { .. } => Error::unavailable(error.to_string()),
        error => error.into(),
    }
}

/// Returns the error of a run that failed before its response.
pub(super) fn failure(job: &Job, end: &JobEnd) -> Error {
    let outcome = &end.outcome;
    let reason = end.error.as_deref().map_or_else(|| outcome.kind().to_owned(), str::to_owned);
    match outcome {
        Outcome::TimedOut { .. } | Outcome::CpuSpent { .. } | Outcome::FuelSpent { .. } => {
            Error::gateway_timeout(format!("the handler did not respond in time: {reason}"))
        }
        Outcome::Refused { .. } => Error::bad_gateway(format!("the handler cannot answer: {reason}")),
        _ => Error::bad_gateway(format!("the handler failed: {reason}")),
    }
    .with_job(job.id())
}
