//! `POST /handlers/{name}/run`: a job in one exchange. The request's body is its stdin, the answer's body its stdout.
//!
//! ```text
//! request body ──▶ input ──▶ stdin │ the run │ stdout ──▶ (spill) ──▶ plain ──▶ live answer
//!                                              stdout, stderr ──────▶ framed ──▶ live answer
//! ```
//!
//! Everything in between is bounded and waits: a guest that does not read holds its client back, and a client that does not read holds
//! its guest back. The one exception is [`spill`]. A client that leaves takes its run with it.

pub(crate) mod framed;
mod plain;
pub(super) mod request;
mod spill;

use std::sync::Arc;

use capstan_core::stream::{self, PIPE_CAPACITY};
use capstan_engine::engine::JobBuilder;
use capstan_engine::handler::Role;
use capstan_engine::job::IdempotencyKey;
use capstan_engine::job::{Job, JobId, JobOptions};
use hyper::Response;
use hyper::header::{ACCEPT, HeaderValue};

use self::request::Asked;
use super::Api;
use super::body::Body;
use super::disconnect::Client;
use super::error::Error;
use super::idempotency_key;
use super::input::Input;
use super::request::Request;

/// The header that names the job.
pub(super) const JOB: &str = "capstan-job";
/// The header or trailer with the kind of the outcome.
const OUTCOME: &str = "capstan-outcome";
/// The header or trailer with what a shell would see.
const EXIT_CODE: &str = "capstan-exit-code";

/// Runs a handler, and answers with what it prints.
pub(super) async fn run(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let (asked, name) = (Asked::of(&request)?, request.handler()?);
    let client = Client::of(&request);
    let (is_framed, takes_trailers) = (request.lists(&ACCEPT, framed::MEDIA_TYPE), request.takes_trailers());
    let key = idempotency_key::of(&request.head.headers)?.map(|text| IdempotencyKey { text, request_digest: None });
    let caller = Some(request.presence.caller().clone());
    let Asked { policy, concurrency_key, .. } = asked;
    let options = JobOptions { policy, caller, key, concurrency_key, ..JobOptions::default() };
    let (input, stdin) = Input::of(request.body);
    let (stdout, printed) = stream::pipe(PIPE_CAPACITY);
    let job = api.engine.job(&name)?.args(asked.args).env(&asked.env).options(options).stdin(stdin).stdout(stdout);
    let (job, mut response) = if is_framed {
        let (stderr, complained) = stream::pipe(PIPE_CAPACITY);
        let job = start(job.stderr(stderr))?;
        input.feed(&api.tasks, &job);
        let response = framed::answer(&api.tasks, &job, printed, complained, client);
        (job, response)
    } else {
        let job = start(job)?;
        let input = input.feed(&api.tasks, &job);
        let response = plain::answer(&api, &job, printed, input, takes_trailers, client).await;
        (job, response)
    };
    name_job(&mut response, job.id());
    Ok(response)
}

fn start(job: JobBuilder) -> Result<Job, Error> {
    let job = job.build()?;
    refuse_service(&job)?;
    job.start()?;
    Ok(job)
}

/// Refuses a job that only the daemon starts.
///
/// # Errors
/// [`Error`], 403 `service`.
pub(super) fn refuse_service(job: &Job) -> Result<(), Error> {
    if job.resolved().handler().role() == Role::Service { Err(Error::service(job.name())) } else { Ok(()) }
}

/// Puts the id of a job into the head of an answer.
pub(super) fn name_job(response: &mut Response<Body>, job: JobId) {
    response.headers_mut().insert(JOB, job_id(job));
}

/// The id of a job as the value of a header.
pub(super) fn job_id(job: JobId) -> HeaderValue {
    HeaderValue::from_str(&job.to_string()).expect("an id is hexadecimal")
}
