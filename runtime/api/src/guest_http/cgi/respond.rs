//! Waits for the head that a command prints, and sends the rest of its output.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::stream::Source;
use capstan_engine::job::{Job, JobEnd};
use futures_util::stream::{self, StreamExt as _};
use hyper::Response;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};

use super::super::super::body::{self, Body};
use super::super::super::disconnect::{CancelOnDisconnect, Client};
use super::super::super::error::Error;
use super::super::super::run::output::{BufferedOutput, Output};
use super::super::super::run::spill::{self, Spill};
use super::super::super::state::ApiState;
use super::super::super::stdin::StdinEnd;
use super::super::super::timeouts::{self, ResponseKind};
use super::super::respond::failure;
use super::content_length;
use super::head::{HeadError, HeadFields, HeadParser};
use super::response_head::CgiHead;

/// How long a body waits for the end of its run, to be sent complete.
const BODY_DELAY: Duration = Duration::from_millis(10);
/// Bytes of a body that are collected while it waits; with more, the response starts.
const BODY_BUFFER: usize = 16 << 10;

/// A run that answers a request.
pub(super) struct Answer<'a> {
    pub(super) state: &'a ApiState,
    pub(super) job: &'a Job,
    pub(super) stdin_end: StdinEnd,
    /// Whether the request is one for the head alone.
    pub(super) is_head: bool,
}

/// Returns the response. One whose run ends within 10 ms of its head, with up to 16 KiB of body, is sent complete. Any other is streamed, and
/// is cut unless the run succeeds.
///
/// # Errors
/// [`Error`], 502 or 504, if there is no valid head, or the run fails before anything was sent.
pub(super) async fn respond(answer: Answer<'_>, stdout: Source, client: Client) -> Result<Response<Body>, Error> {
    let cancel_on_disconnect = CancelOnDisconnect::new(answer.job);
    let mut stdout = stdout;
    let (fields, first) = tokio::select! {
        biased;
        head = read_head(&mut stdout, answer.job) => head?,
        () = client.disconnected() => return Err(Error::bad_gateway("the client has disconnected")),
    };
    let head = CgiHead::new(fields).map_err(|error| Error::bad_cgi_head(&error.to_string()))?;
    if answer.is_head || head.has_no_body() || head.length == Some(0) {
        return tokio::select! {
            biased;
            response = without_body(&answer, head, first, &mut stdout) => response,
            () = client.disconnected() => Err(Error::bad_gateway("the client has disconnected")),
        };
    }
    let mut collected = BufferedOutput::starting_with(first);
    let end = collected.read_to_end_within(Some(BODY_DELAY), &mut stdout, BODY_BUFFER, answer.job).await;
    if let Some(end) = end {
        return complete(&answer, head, collected.into_bytes(), &end);
    }
    Ok(streamed(answer, head, collected.into_bytes(), stdout, client, cancel_on_disconnect))
}

/// Reads the head. Returns its fields, and what follows them in the piece that completes it.
///
/// # Errors
/// [`Error`], 502 or 504.
async fn read_head(stdout: &mut Source, job: &Job) -> Result<(HeadFields, Bytes), Error> {
    let mut parser = HeadParser::default();
    loop {
        let mut piece = stdout.read_bytes().await;
        if piece.is_empty() {
            // How the run has failed says more than what is missing.
            let end = job.wait().await;
            return Err(if end.outcome.is_success() { parser.at_end().into() } else { failure(job, &end) });
        }
        if let Some(fields) = parser.parse(&mut piece)? {
            return Ok((fields, piece));
        }
    }
}

/// Waits for the end of the run, and responds without a body.
async fn without_body(
    answer: &Answer<'_>,
    head: CgiHead,
    first: Bytes,
    stdout: &mut Source,
) -> Result<Response<Body>, Error> {
    let mut length = first.len() as u64;
    loop {
        let piece = stdout.read_bytes().await;
        if piece.is_empty() {
            break;
        }
        length += piece.len() as u64;
    }
    let end = answer.job.wait().await;
    if !end.outcome.is_success() {
        return Err(failure(answer.job, &end));
    }
    if !answer.is_head && head.length == Some(0) && length > 0 {
        return Err(wrong_length(0, length));
    }
    let length = if head.has_no_body() { None } else { Some(head.length.unwrap_or(length)) };
    let mut response = new_response(head.status, head.headers, length, body::full(Bytes::new()));
    close_if_unread(&mut response, &answer.stdin_end);
    Ok(response)
}

fn complete(answer: &Answer<'_>, head: CgiHead, body: Bytes, end: &JobEnd) -> Result<Response<Body>, Error> {
    if !end.outcome.is_success() {
        return Err(failure(answer.job, end));
    }
    let length = body.len() as u64;
    if let Some(promised) = head.length.filter(|promised| *promised != length) {
        return Err(wrong_length(promised, length));
    }
    let mut response = new_response(head.status, head.headers, None, body::full(body));
    close_if_unread(&mut response, &answer.stdin_end);
    Ok(response)
}

fn wrong_length(promised: u64, length: u64) -> Error {
    Error::bad_cgi_head(&format!("the content-length is {promised}, but the body has {length} bytes"))
}

fn streamed(
    answer: Answer<'_>,
    head: CgiHead,
    collected: Bytes,
    stdout: Source,
    client: Client,
    cancel_on_disconnect: CancelOnDisconnect,
) -> Response<Body> {
    let (state, job) = (answer.state, answer.job.clone());
    let stdout = Output::new(stdout);
    if !answer.stdin_end.is_cancelled() {
        let max_bytes = job.limits().stdout;
        let spill = Spill { folder: state.settings.spill_folder.clone(), max_bytes, until: answer.stdin_end };
        spill::spawn(&state.tasks, stdout.downgrade(), spill, &job);
    }
    let kind = ResponseKind::Run(job.clone());
    let collected = stream::iter(Some(collected).filter(|bytes| !bytes.is_empty()));
    let succeeded = async move { job.wait().await.outcome.is_success() };
    let frames = content_length::frames(collected.chain(stdout), head.length, succeeded);
    let body = client.stream_response(cancel_on_disconnect, frames);
    let mut response = new_response(head.status, head.headers, head.length, body);
    timeouts::set_response_kind(&mut response, kind);
    response
}

fn new_response(status: StatusCode, headers: hyper::HeaderMap, length: Option<u64>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Ends the connection with the response if the rest of the request will not be read.
fn close_if_unread(response: &mut Response<Body>, stdin_end: &StdinEnd) {
    if !stdin_end.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::NoOutput => Self::no_cgi_output(),
            HeadError::TooLarge => Self::cgi_head_too_large(&error.to_string()),
            _ => Self::bad_cgi_head(&error.to_string()),
        }
    }
}
