//! Commands that answer as CGI/1.1 (RFC 3875): a request in variables and stdin, a response on stdout.
//!
//! ```text
//! head of the request ──▶ variables ──▶ │         │            ┌──▶ head of the response
//! body of the request ──▶ stdin ──────▶ │ the run │ ──▶ stdout ┤
//!                                       │         │            └──▶ its body
//! ```
//!
//! - [`variables`] builds the variables.
//! - [`head`] parses the first lines of stdout, and [`response_head`] makes the head of the response of them.
//! - [`respond`](mod@respond) waits for them, and sends the rest of stdout as the body.
//!
//! Not supported, on purpose: arguments from the query (RFC 3875, 4.4), `nph-` scripts, and local redirects within the daemon: a `Location`
//! goes to the client.

mod content_length;
mod head;
mod respond;
mod response_head;
mod variables;

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::job::JobOptions;
use hyper::{Method, Response};

use self::respond::{Answer, respond};
pub(super) use self::variables::{Length, from_request};
use super::super::body::Body;
use super::super::disconnect::Client;
use super::super::error::Error;
use super::super::headers;
use super::super::request::Request;
use super::super::run;
use super::super::state::ApiState;
use super::super::stdin::{self, StdinBody};
use super::Target;
use super::respond::refused;

/// Lets a command answer. `read` is what was read of the body already.
///
/// # Errors
/// [`Error`]: 400 for a request that no variables can express, 502 or 504 for a run without a response.
pub(super) async fn answer(
    state: Arc<ApiState>,
    mut request: Request,
    target: &Target,
    read: Bytes,
) -> Result<Response<Body>, Error> {
    let env = from_request(&request, target, Length::OfHeader)?;
    let client = Client::new(&request);
    let is_head = request.head.method == Method::HEAD;
    let options = JobOptions { caller: Some(request.peer.caller().clone()), ..JobOptions::default() };
    let read = stdin::read_expected(&request.head.headers, &mut request.body, read).await;
    let (body, stdin) = StdinBody::new(request.body, read);
    let (stdout_sink, stdout) = stream::pipe(PIPE_CAPACITY);
    let job = state.engine.job(&target.handler)?.env(&env).options(options).stdin(stdin).stdout(stdout_sink).build()?;
    run::reject_service(&job)?;
    job.start().map_err(refused)?;
    let stdin_end = body.spawn_copy(&state.tasks, &job);
    let answer = Answer { state: &state, job: &job, stdin_end, is_head };
    let mut response = respond(answer, stdout, client).await.map_err(|error| error.with_job(job.id()))?;
    headers::set_job(&mut response, job.id());
    Ok(response)
}
