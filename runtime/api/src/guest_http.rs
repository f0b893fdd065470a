//! `/x/{handler}/…`: requests that a handler answers itself.
//!
//! ```text
//! request ──▶ RequestHead ──▶ │         │ ──▶ ResponseHead ──▶ response
//!    body ──▶ stdin ────────▶ │ the run │ ──▶ stdout ────────▶ body
//! ```
//!
//! Each request is a job. The response starts when the guest sends its head. A run that fails before anything was sent becomes an error of the
//! API; one that fails later cuts the response.

mod request_head;
mod respond;

use std::sync::Arc;

use capstan_core::http::{Exchange, Fields, Trailers};
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::job::{JobOptions, StartError};
use hyper::Response;
use hyper::header::HeaderMap;

use super::body::Body;
use super::disconnect::Client;
use super::error::Error;
use super::headers;
use super::request::{Request, percent_decode};
use super::run;
use super::state::ApiState;
use super::stdin::{self, StdinBody};

/// Where the handlers answer on the listeners of the API.
pub(super) const PREFIX: &str = "/x/";

/// A request for a handler: which, and the path that its guest sees.
#[derive(Debug)]
struct Target {
    handler: String,
    /// Starts with `/`, and is still percent-encoded.
    path_and_query: String,
}

/// Lets the handler in the path answer the request.
pub(super) async fn answer(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let target = Target::parse(&request)?;
    if is_upgrade(&request.head.headers) {
        return Err(Error::no_upgrade());
    }
    answer_as_proxy(state, request, target).await
}

/// Lets a component of the world `wasi:http/proxy` answer.
async fn answer_as_proxy(state: Arc<ApiState>, mut request: Request, target: Target) -> Result<Response<Body>, Error> {
    let head = request_head::from_request(&request, target.path_and_query)?;
    let client = Client::new(&request);
    let accepts_trailers = request.accepts_trailers();
    let options = JobOptions { caller: Some(request.peer.caller().clone()), ..JobOptions::default() };
    let trailers = Trailers::default();
    let (exchange, pending) = Exchange::new(head, trailers.clone());
    let read = stdin::read_expected(&request.head.headers, &mut request.body, bytes::Bytes::new()).await;
    let (body, stdin) = StdinBody::new(request.body, read);
    let (stdout_sink, stdout) = stream::pipe(PIPE_CAPACITY);
    let job = state.engine.job(&target.handler)?.options(options).stdin(stdin).stdout(stdout_sink).http(exchange);
    let job = job.build()?;
    run::reject_service(&job)?;
    job.start().map_err(refused)?;
    let stdin_end = body.with_trailers(trailers).spawn_copy(&state.tasks, &job);
    let mut response = respond::respond(&job, pending, stdout, &stdin_end, accepts_trailers, client).await?;
    headers::set_job(&mut response, job.id());
    Ok(response)
}

/// Converts all fields to plain data.
pub(super) fn to_fields(headers: &HeaderMap) -> Fields {
    request_head::to_fields(headers, |_| true)
}

/// Returns the error of a job that could not be started. A full queue is 503 here: the client knows nothing of jobs.
fn refused(error: StartError) -> Error {
    match error {
        StartError::Busy { .. } => Error::unavailable(error.to_string()),
        error => error.into(),
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(hyper::header::UPGRADE)
}

impl Target {
    /// Reads the target from a path such as `/x/hello/a/b?c`.
    ///
    /// # Errors
    /// [`Error`], 404, if the path names no handler.
    fn parse(request: &Request) -> Result<Self, Error> {
        let uri = &request.head.uri;
        let rest = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if name.is_empty() {
            return Err(Error::not_found("the path names no handler: /x/HANDLER/PATH"));
        }
        let handler = percent_decode(name)
            .map_err(|_| Error::not_found("the name of the handler is not UTF-8 after percent-decoding"))?
            .into_owned();
        let mut path_and_query = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        if let Some(query) = uri.query() {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Ok(Self { handler, path_and_query })
    }
}
