//! Requests that a handler answers itself: `/x/{handler}/…` on the listeners of the API, claimed routes on those of `--serve`.
//!
//! ```text
//! request ──▶ RequestHead ──▶ │         │ ──▶ ResponseHead ──▶ response
//!    body ──▶ stdin ────────▶ │ the run │ ──▶ stdout ────────▶ body
//! ```
//!
//! Each request is a job. The response starts when the guest sends its head. A run that fails before anything was sent becomes an error of the
//! API; one that fails later cuts the response.

mod content_type;
mod request_head;
mod respond;
mod static_files;
mod target;

use std::sync::Arc;

use capstan_core::http::{Exchange, Fields, Trailers};
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::job::{JobOptions, StartError};
use hyper::Response;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};

pub(super) use self::target::PREFIX;
use self::target::Target;
use super::body::Body;
use super::disconnect::Client;
use super::error::Error;
use super::headers;
use super::request::Request;
use super::run;
use super::state::ApiState;
use super::stdin::{self, StdinBody};
use super::surface::Surface;
use super::trace_context::TraceContext;

/// A page of a handler must not act as the origin of the API. A guest's own policy holds besides this one, so it can only be stricter.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts");

/// Lets a handler answer the request. Writes its line to the access log, if there is one.
pub(super) async fn call(
    state: Arc<ApiState>,
    mut request: Request,
    admitted: Result<(), Error>,
    surface: Surface,
) -> Response<Body> {
    let trace = TraceContext::continue_in(&mut request.head.headers);
    let mut entry = state.settings.access_log.as_ref().map(|log| log.start(&request, &trace.trace_id));
    let target = admitted.and_then(|()| match surface {
        Surface::Api => Target::below_prefix(&request),
        Surface::Routes => Target::claimed(&state.engine.routes(), &request),
    });
    let result = match target {
        Ok(mut target) => {
            if let Some(entry) = &mut entry {
                entry.handler.clone_from(&target.handler);
            }
            target.add_trace(&request.head.headers);
            let Target { handler, script_name, variables, .. } = &target;
            tracing::debug!(handler, script_name, ?variables, trace = trace.trace_id, "a handler answers");
            answer(state, request, target).await
        }
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(|error| {
        tracing::debug!(%error, trace = trace.trace_id, "rejected a request to a handler");
        error.into_response()
    });
    if surface == Surface::Api {
        response.headers_mut().append(CONTENT_SECURITY_POLICY, SANDBOX);
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    match entry {
        Some(entry) => entry.finish(response),
        None => response,
    }
}

/// Lets the handler of `target` answer the request.
async fn answer(state: Arc<ApiState>, request: Request, target: Target) -> Result<Response<Body>, Error> {
    if is_upgrade(&request.head.headers) {
        return Err(Error::no_upgrade());
    }
    if let Some(files) = target.route.as_ref().and_then(|route| route.definition.files.as_deref()) {
        return static_files::answer(&state.engine, &request.head, &target, files).await;
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
