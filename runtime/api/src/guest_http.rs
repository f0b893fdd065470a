//! `/x/{handler}/…`: requests that a handler answers itself.
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
mod request_head;
mod respond;
mod signature;
mod target;

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::http::{Exchange, Trailers};
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::handler::Kind;
use capstan_engine::job::JobOptions;
use hyper::Response;
use hyper::header::HeaderMap;

pub(super) use self::asynchronous::answer_later;
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

/// Lets the handler in the path answer the request.
pub(super) async fn answer(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let target = Target::parse(&request)?;
    if is_upgrade(&request.head.headers) {
        return Err(Error::no_upgrade());
    }
    let is_async = asynchronous::is_preferred(&request.head.headers);
    check_handler(&state, &target)?;
    if is_async {
        return answer_later(state, request, target, None).await;
    }
    answer_now(state, request, target, Bytes::new()).await
}

/// Lets the handler of `target` answer. `read` is what was read of the body already.
async fn answer_now(
    state: Arc<ApiState>,
    request: Request,
    target: Target,
    read: Bytes,
) -> Result<Response<Body>, Error> {
    if state.engine.resolve(&target.handler)?.info().answers_http {
        return answer_as_proxy(state, request, target, read).await;
    }
    cgi::answer(state, request, &target, read).await
}

/// Checks that a handler can answer requests.
///
/// # Errors
/// [`Error`]: 404 if there is none, 403 for a builtin, 501 for a library.
fn check_handler(state: &ApiState, target: &Target) -> Result<(), Error> {
    let resolved = state.engine.resolve(&target.handler)?;
    let info = resolved.info();
    if info.kind == Kind::Native {
        return Err(Error::builtin_cannot_answer(&target.handler));
    }
    if info.is_library && !info.answers_http {
        return Err(Error::library_cannot_answer(&target.handler));
    }
    Ok(())
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
