//! Requests that a handler answers itself: `/x/{handler}/…` on the listeners of the API, claimed routes on those of `--serve`.
//!
//! ```text
//! request ──▶ RequestHead ──▶ │         │ ──▶ ResponseHead ──▶ response
//!    body ──▶ stdin ────────▶ │ the run │ ──▶ stdout ────────▶ body
//! ```
//!
//! Each request is a job. The response starts when the guest sends its head. A run that fails before anything was sent becomes an error of the
//! API; one that fails later cuts the response.

mod asynchronous;
mod cgi;
mod content_type;
mod request_head;
mod respond;
mod signature;
mod static_files;
mod target;

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::http::{Exchange, Trailers};
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::handler::Kind;
use capstan_engine::job::JobOptions;
use hyper::Response;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use self::asynchronous::answer_later;
pub(super) use self::request_head::to_all_fields;
use self::respond::refused;
pub(super) use self::target::{PREFIX, Target};
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

/// Lets the handler of `target` answer the request, now or later.
async fn answer(state: Arc<ApiState>, mut request: Request, target: Target) -> Result<Response<Body>, Error> {
    if is_upgrade(&request.head.headers) {
        return Err(Error::no_upgrade());
    }
    let route = target.route.clone();
    let route = route.as_ref().map(|route| &route.definition);
    if let Some(files) = route.and_then(|route| route.files.as_deref()) {
        return static_files::answer(&state.engine, &request.head, &target, files).await;
    }
    let is_component = answers_itself(&state, &target)?;
    let signed = match route.and_then(|route| route.signature.as_ref()) {
        Some(rule) => Some(signature::read_verified(&state, &mut request, rule, &target.handler).await?),
        None => None,
    };
    // Those who may use the API decide themselves. Anybody may send a request to a route, so its manifest decides.
    let is_async = match route {
        Some(route) => route.respond_async,
        None => asynchronous::is_preferred(&request.head.headers),
    };
    match (is_async, is_component) {
        (true, true) => Err(Error::async_unsupported(&target.handler)),
        (true, false) => answer_later(state, request, target, signed).await,
        (false, true) => answer_as_proxy(state, request, target, signed.unwrap_or_default()).await,
        (false, false) => cgi::answer(state, request, &target, signed.unwrap_or_default()).await,
    }
}

/// Returns whether the handler of `target` answers itself, as a component of `wasi:http`. Otherwise it is a command, which answers by CGI.
///
/// # Errors
/// [`Error`]: 404 if there is no such handler, 403 for a builtin, 501 for a library.
fn answers_itself(state: &ApiState, target: &Target) -> Result<bool, Error> {
    let resolved = state.engine.resolve(&target.handler)?;
    let info = resolved.info();
    if info.kind == Kind::Native {
        return Err(Error::builtin_cannot_answer(&target.handler));
    }
    if info.is_library && !info.answers_http {
        return Err(Error::library_cannot_answer(&target.handler));
    }
    Ok(info.answers_http)
}

/// Lets a component of the world `wasi:http/proxy` answer.
async fn answer_as_proxy(
    state: Arc<ApiState>,
    mut request: Request,
    target: Target,
    read: Bytes,
) -> Result<Response<Body>, Error> {
    let head = request_head::from_request(&request, target.path_and_query)?;
    let client = Client::new(&request);
    let accepts_trailers = request.accepts_trailers();
    let options = JobOptions { caller: Some(request.peer.caller().clone()), ..JobOptions::default() };
    let trailers = Trailers::default();
    let (exchange, pending) = Exchange::new(head, trailers.clone());
    let read = stdin::read_expected(&request.head.headers, &mut request.body, read).await;
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

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(hyper::header::UPGRADE)
}
