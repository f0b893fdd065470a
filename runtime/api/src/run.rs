//! `POST /handlers/{name}/run`: runs a job within one request. The body of the request is its stdin, the body of the response its stdout.
//!
//! ```text
//! request body ──▶ stdin ──▶ │ the run │ stdout ──▶ (spill) ──▶ plain ──▶ streamed response
//!                                        stdout, stderr ──────▶ framed ──▶ streamed response
//! ```
//!
//! The connection reads the pipes of the output itself, whenever it has room: no task is in between.
//!
//! Everything in between is bounded and waits: a guest that does not read blocks its client, and a client that does not read blocks its
//! guest. The one exception is [`spill`]. If the client disconnects, the run is cancelled.

pub(crate) mod framed;
mod head_line;
pub(super) mod output;
mod plain;
pub(super) mod request;
pub(super) mod spill;

use std::sync::Arc;

use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::engine::JobBuilder;
use capstan_engine::job::{IdempotencyKey, Job, JobOptions};
use hyper::header::ACCEPT;
use hyper::{Response, Version};

pub(super) use self::head_line::read as read_head_line;
pub(super) use self::request::MEDIA_TYPE;
use self::request::RunRequest;
use super::body::Body;
use super::disconnect::Client;
use super::error::Error;
use super::headers;
use super::idempotency_key;
use super::request::Request;
use super::state::ApiState;
use super::stdin::{self, StdinBody};

/// Runs a handler, and responds with its output.
pub(super) async fn run(state: Arc<ApiState>, mut request: Request) -> Result<Response<Body>, Error> {
    let name = request.handler_name()?;
    let (requested, read) = RunRequest::read(&state, &mut request).await?;
    let client = Client::new(&request);
    let (is_framed, accepts_trailers) = (request.header_lists(&ACCEPT, framed::MEDIA_TYPE), request.accepts_trailers());
    let key =
        idempotency_key::from_headers(&request.head.headers)?.map(|text| IdempotencyKey { text, request_digest: None });
    let caller = Some(request.peer.caller().clone());
    let RunRequest { policy, concurrency_key, invoke, .. } = requested;
    let options = JobOptions { policy, caller, key, concurrency_key, invoke, ..JobOptions::default() };
    let is_http10 = request.head.version < Version::HTTP_11;
    let read = stdin::read_expected(&request.head.headers, &mut request.body, read).await;
    let (body, stdin) = StdinBody::new(request.body, read);
    let (stdout_sink, stdout) = stream::pipe(PIPE_CAPACITY);
    let job = state.engine.job(&name)?.args(requested.args).env(&requested.env).options(options);
    let job = job.stdin(stdin).stdout(stdout_sink);
    let (job, mut response) = if is_framed {
        let (stderr_sink, stderr) = stream::pipe(PIPE_CAPACITY);
        let job = start(job.stderr(stderr_sink))?;
        body.spawn_copy(&state.tasks, &job);
        let response = framed::respond(&job, stdout, stderr, client);
        (job, response)
    } else {
        let job = start(job)?;
        let stdin_end = body.spawn_copy(&state.tasks, &job);
        let response = match is_http10 {
            true => plain::respond_http10(&job, stdout, &stdin_end, &client).await?,
            false => plain::respond(&state, &job, stdout, stdin_end, accepts_trailers, client).await,
        };
        (job, response)
    };
    headers::set_job(&mut response, job.id());
    Ok(response)
}

fn start(job: JobBuilder) -> Result<Job, Error> {
    let job = job.build()?;
    reject_service(&job)?;
    job.start()?;
    Ok(job)
}

/// Rejects a job that only the daemon may start.
///
/// # Errors
/// [`Error`], 403 `service`.
pub(super) fn reject_service(job: &Job) -> Result<(), Error> {
    if job.resolved().handler().is_reserved() { Err(Error::service(job.name())) } else { Ok(()) }
}
