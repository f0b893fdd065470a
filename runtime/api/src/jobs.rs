//! Jobs: submit, list, inspect, wait, cancel, write stdin, attach, remove.
//!
//! A submitted job runs on its own, whether or not a client waits for it, and whether or not the daemon is restarted. Its output is stored,
//! see [`logs`](mod@logs).

mod attach;
mod batch;
pub(super) mod bulk;
pub(super) mod cursors;
mod last_lines;
pub(super) mod list;
mod log_encoder;
mod log_reader;
mod logs;
pub(super) mod lookup;
mod new_job;
mod plan_edit;
mod request;
mod view;
mod wait;
mod when;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capstan_core::caller::Caller;
use capstan_core::outcome::CancelledBy;
use capstan_core::stream::Source;
use capstan_engine::job::{CommandLine, DuplicateKey, IdempotencyKey, JobId, JobOptions, JobState, StartError};
use hyper::header::{CONNECTION, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::json;

pub(super) use self::attach::{attach, attach_messages};
pub(super) use self::batch::submit_batch;
pub(super) use self::bulk::cancel_many;
pub(super) use self::list::list;
pub(super) use self::logs::logs;
use self::lookup::{FoundJob, find, find_by_id, unfinished_job};
pub(super) use self::new_job::{build_model, check_labels};
use self::new_job::{new_jobs, reject_queue_options};
use self::plan_edit::PlanEdit;
use self::request::{JobRequest, StdinSource};
pub(super) use self::wait::wait;
use super::body::{self, Body};
use super::error::Error;
use super::headers;
use super::query::Parameters;
use super::request::Request;
use super::run::reject_service;
use super::state::ApiState;
use super::stdin;

/// `POST /jobs`: submits a job, or an array of jobs. They are on the disk once the response is sent.
pub(super) async fn submit(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let caller = request.peer.caller().clone();
    let requested = JobRequest::read(&state, request).await?;
    if !requested.is_durable {
        return submit_in_memory(&state, requested, caller);
    }
    submit_durable(&state, requested, &caller).await
}

/// Submits a command as a durable job.
///
/// # Errors
/// [`Error`]: whatever keeps the job from running that is known now, or the queue from taking it.
pub(super) async fn submit_command(
    state: &ApiState,
    line: CommandLine,
    stdin: Bytes,
    key: Option<IdempotencyKey>,
    caller: &Caller,
) -> Result<Response<Body>, Error> {
    submit_durable(state, JobRequest::durable(line, stdin, key), caller).await
}

async fn submit_durable(state: &ApiState, requested: JobRequest, caller: &Caller) -> Result<Response<Body>, Error> {
    if state.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    let queue = state.queue()?;
    let jobs = new_jobs(state, queue, requested, caller)?;
    let count = jobs.len();
    let results = queue.submit(jobs).await?;
    let mut submitted = results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = submitted.next().expect("each job has a result");
    let status = if first.is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut json = json!({"id": first.job, "durable": true, "state": first.state.token()});
    if count > 1 {
        json["count"] = json!(count);
    }
    Ok(submission(status, first.job, &json))
}

/// Submits a job that ends with the daemon: one whose stdin comes later and cannot be given to a second run, or one that asks for it.
fn submit_in_memory(state: &ApiState, requested: JobRequest, caller: Caller) -> Result<Response<Body>, Error> {
    reject_queue_options(&requested.queue)?;
    // Checked first: a repeated request returns the job of the first one even where another job could not start.
    if let Some(key) = &requested.key
        && let Err(duplicate) = state.engine.history().check_key(key)
    {
        return earlier_submission(state, duplicate.into());
    }
    let JobRequest { policy, key, concurrency_key, .. } = requested;
    let options = JobOptions { policy, caller: Some(caller), key, concurrency_key, ..JobOptions::default() };
    let CommandLine { handler, args, env } = requested.line;
    let job = state.engine.job(&handler)?.args(args).env(&env).options(options).logged();
    let job = match requested.stdin {
        StdinSource::Inline(bytes) => job.stdin(Source::from_bytes(state.slots.hold_stdin(bytes)?)).build()?,
        StdinSource::Later => job.stdin_later().build()?,
    };
    reject_service(&job)?;
    match job.start() {
        Ok(()) => Ok(submission_in_memory(StatusCode::ACCEPTED, job.id(), &job.state())),
        Err(error) => earlier_submission(state, error),
    }
}

/// Returns the job of an earlier request with the same key and the same body; otherwise the error.
fn earlier_submission(state: &ApiState, error: StartError) -> Result<Response<Body>, Error> {
    if let StartError::DuplicateKey(DuplicateKey { job, is_same_request: true }) = error
        && let Some(record) = state.engine.history().find(job)
    {
        return Ok(submission_in_memory(StatusCode::OK, job, &record.state()));
    }
    Err(error.into())
}

fn submission_in_memory(status: StatusCode, job: JobId, job_state: &JobState) -> Response<Body> {
    submission(status, job, &json!({"id": job, "durable": false, "state": job_state.token()}))
}

/// Returns the response to a submission.
pub(super) fn submission(status: StatusCode, job: JobId, json: &serde_json::Value) -> Response<Body> {
    let mut response = body::json(status, json);
    let location = HeaderValue::from_str(&format!("/v1/jobs/{job}")).expect("an id is hexadecimal");
    response.headers_mut().insert(LOCATION, location);
    headers::set_job(&mut response, job);
    response
}

/// `GET /jobs/{id}`: returns a job.
pub(super) async fn inspect(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let mut found = find(&state, &request).await?;
    found.explain_wait(&state).await?;
    Ok(body::json(StatusCode::OK, &found.view()))
}

/// `DELETE /jobs/{id}`: removes a job that has ended from the history.
pub(super) async fn remove(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    match find(&state, &request).await? {
        FoundJob::InMemory(record) => state.engine.history().remove(record.spec.id)?,
        FoundJob::Durable(job) => state.queue()?.store().remove(job.details.job.id).await?,
    }
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `POST /jobs/{id}/retry`: queues a durable job that has ended, as if no run counted. The body may replace what its runs get.
pub(super) async fn retry(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (id, handler, plan) = match find(&state, &request).await? {
        FoundJob::InMemory(record) => return Err(Error::not_durable(record.spec.id)),
        FoundJob::Durable(job) if job.details.job.is_synchronous => return Err(Error::not_durable(job.details.job.id)),
        FoundJob::Durable(job) => (job.details.job.id, job.details.job.handler, job.details.job.plan),
    };
    let edited = PlanEdit::read(&state, request).await?.apply(plan)?;
    // What the daemon has submitted runs as the daemon has said, or not at all.
    if edited.is_some() && state.engine.resolve(handler.as_str()).is_ok_and(|found| found.handler().is_reserved()) {
        return Err(Error::service(handler.as_str()));
    }
    state.queue()?.requeue(id, edited).await?;
    Ok(submission(StatusCode::ACCEPTED, id, &json!({"id": id, "durable": true, "state": "queued"})))
}

/// `POST /jobs/{id}/cancel`: cancels a job, after a grace period if one is requested. Does not wait for its end.
pub(super) async fn cancel(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let grace = Parameters::parse(&request, &["grace"], &[])?.duration("grace")?.unwrap_or_default();
    stop(state, request, grace).await
}

/// `POST /jobs/{id}/kill`: cancels a job now. Does not wait for its end.
pub(super) async fn kill(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    stop(state, request, Duration::ZERO).await
}

/// Cancels the job in the path. Its run, if it is in progress, finds the end of its stdin, and may end on its own within `grace`.
async fn stop(state: Arc<ApiState>, request: Request, grace: Duration) -> Result<Response<Body>, Error> {
    let found = find(&state, &request).await?;
    if found.has_ended() {
        return Err(Error::job_ended(found.id()));
    }
    let (id, is_durable) = (found.id(), matches!(found, FoundJob::Durable(_)));
    match found.run().cloned() {
        // A job that has not started has nothing to finish.
        Some(run) if !grace.is_zero() && run.started().is_some() => {
            let permit = state.slots.grace_period()?;
            // Held by the job too, because the task learns of its end later than other waiters.
            run.hold_until_end(permit.clone());
            if is_durable {
                state.queue()?.request_cancellation(id, CancelledBy::Client).await?;
            }
            // This is how the guest learns of it.
            run.end_stdin();
            let owner = state.clone();
            state.tasks.spawn("api", "cancellation after a grace period", async move {
                let _permit = permit;
                // The job may end on its own within the grace period.
                let _ = tokio::time::timeout(grace, run.wait()).await;
                if is_durable && let Ok(queue) = owner.queue() {
                    // The job may have ended, and then there is nothing to cancel.
                    let _ = queue.cancel(id, CancelledBy::Client).await;
                } else {
                    run.cancel(CancelledBy::Client);
                }
            });
        }
        Some(run) if !is_durable => run.cancel(CancelledBy::Client),
        _ => _ = state.queue()?.cancel(id, CancelledBy::Client).await?,
    }
    let now = find_by_id(&state, id).await?;
    Ok(body::json(StatusCode::ACCEPTED, &now.view()))
}

/// `PUT /jobs/{id}/stdin`: writes the body to the stdin of a job that was submitted with `stdin_later`, and closes it.
pub(super) async fn stdin(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let not_open = |id: JobId| {
        let message = format!(
            "the stdin of job {id} is not open: it was submitted without stdin_later, or its stdin has a writer already"
        );
        Error::conflict(id, message)
    };
    let job = match find(&state, &request).await? {
        found if found.has_ended() => return Err(Error::job_ended(found.id())),
        FoundJob::Durable(durable) => return Err(not_open(durable.details.job.id)),
        FoundJob::InMemory(record) => {
            unfinished_job(&record).cloned().ok_or_else(|| Error::job_ended(record.spec.id))?
        }
    };
    let sink = job.take_stdin().ok_or_else(|| not_open(job.id()))?;
    let target = job.clone();
    // A task of its own, so that a disconnected client does not stop the copy: the guest must not take a part for the whole input.
    let copying = state.tasks.spawn("api", "stdin of a job", async move {
        tokio::select! {
            is_complete = stdin::copy(request.body, sink, &target) => is_complete,
            _ = target.wait() => false,
        }
    });
    let is_complete = copying.await.map_err(|error| Error::internal(error.to_string()))?;
    let mut response = body::empty(StatusCode::NO_CONTENT);
    if !is_complete {
        // The rest of the request will not be read.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
