//! Jobs: submit, list, inspect, wait, cancel, write stdin, attach, remove.
//!
//! A submitted job runs on its own, whether or not a client waits for it. Its output is stored, see [`logs`](mod@logs).

mod attach;
pub(super) mod cursors;
mod list;
mod log_encoder;
mod logs;
pub(super) mod lookup;
mod request;
mod view;

use std::sync::Arc;

use capstan_core::outcome::CancelledBy;
use capstan_core::stream::Source;
use capstan_engine::job::{CommandLine, DuplicateKey, JobId, JobOptions, JobState, StartError};
use hyper::body::Frame;
use hyper::header::{CONNECTION, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::json;

pub(super) use self::attach::{attach, attach_messages};
pub(super) use self::list::list;
pub(super) use self::logs::logs;
use self::lookup::{find, find_unfinished, unfinished_job};
use self::request::{JobRequest, StdinSource};
use self::view::JobView;
use super::body::{self, Body};
use super::disconnect::Client;
use super::error::Error;
use super::headers;
use super::query::Parameters;
use super::request::Request;
use super::run::reject_service;
use super::state::ApiState;
use super::stdin;

/// `POST /jobs`: submits a job.
pub(super) async fn submit(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let caller = request.peer.caller().clone();
    let requested = JobRequest::read(&state, request).await?;
    // Checked first: a repeated request returns the job of the first one even where another job could not start.
    if let Some(key) = &requested.key
        && let Err(duplicate) = state.engine.history().check_key(key)
    {
        return earlier_submission(&state, duplicate.into());
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
        Ok(()) => Ok(submission(StatusCode::ACCEPTED, job.id(), &job.state())),
        Err(error) => earlier_submission(&state, error),
    }
}

/// Returns the job of an earlier request with the same key and the same body; otherwise the error.
fn earlier_submission(state: &ApiState, error: StartError) -> Result<Response<Body>, Error> {
    if let StartError::DuplicateKey(DuplicateKey { job, is_same_request: true }) = error
        && let Some(record) = state.engine.history().find(job)
    {
        return Ok(submission(StatusCode::OK, job, &record.state()));
    }
    Err(error.into())
}

fn submission(status: StatusCode, job: JobId, job_state: &JobState) -> Response<Body> {
    let mut response = body::json(status, &json!({"id": job, "durable": false, "state": job_state.token()}));
    let location = HeaderValue::from_str(&format!("/v1/jobs/{job}")).expect("an id is hexadecimal");
    response.headers_mut().insert(LOCATION, location);
    headers::set_job(&mut response, job);
    response
}

/// `GET /jobs/{id}`: returns a job.
pub(super) async fn inspect(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let record = find(&state, &request)?;
    Ok(body::json(StatusCode::OK, &JobView::new(&record)))
}

/// `DELETE /jobs/{id}`: removes a job that has ended from the history.
pub(super) async fn remove(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    state.engine.history().remove(lookup::job_id(&state, &request)?)?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `POST /jobs/{id}/wait`: returns the job once it has ended, or as it is after the timeout.
///
/// Returns the job even if it is removed from the history in the meantime.
pub(super) async fn wait(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["timeout"], &[])?;
    let timeout = parameters.duration("timeout")?;
    let record = find(&state, &request)?;
    let Some(job) = unfinished_job(&record).cloned() else {
        return Ok(body::json(StatusCode::OK, &JobView::new(&record)));
    };
    // The head of the response is sent at once, so that a client that disconnects is noticed. The job follows.
    let (frames, body) = Client::new(&request).channel_response();
    state.tasks.spawn("api", "waiter for a job's end", async move {
        let timed_out = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = job.wait() => {}
            () = timed_out => {}
            () = frames.closed() => return,
        }
        let view = body::json_line(&JobView::new(&record));
        // It fails only where the client has disconnected.
        let _ = frames.send(Ok(Frame::data(view))).await;
    });
    Ok(body::response(StatusCode::OK, "application/json", body))
}

/// `POST /jobs/{id}/cancel`: cancels a job, after a grace period if one is requested. Does not wait for its end.
pub(super) async fn cancel(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let grace = Parameters::parse(&request, &["grace"], &[])?.duration("grace")?.unwrap_or_default();
    let (record, job) = find_unfinished(&state, &request)?;
    if grace.is_zero() {
        job.cancel(CancelledBy::Client);
    } else {
        let permit = state.slots.grace_period()?;
        // Held by the job too, because the task learns of its end later than other waiters.
        job.hold_until_end(permit.clone());
        state.tasks.spawn("api", "cancellation after a grace period", async move {
            let _permit = permit;
            // The job may end on its own within the grace period.
            let _ = tokio::time::timeout(grace, job.wait()).await;
            job.cancel(CancelledBy::Client);
        });
    }
    Ok(body::json(StatusCode::ACCEPTED, &JobView::new(&record)))
}

/// `POST /jobs/{id}/kill`: cancels a job now. Does not wait for its end.
pub(super) async fn kill(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (record, job) = find_unfinished(&state, &request)?;
    job.cancel(CancelledBy::Client);
    Ok(body::json(StatusCode::ACCEPTED, &JobView::new(&record)))
}

/// `PUT /jobs/{id}/stdin`: writes the body to the stdin of a job that was submitted with `stdin_later`, and closes it.
pub(super) async fn stdin(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (_, job) = find_unfinished(&state, &request)?;
    let sink = job.take_stdin().ok_or_else(|| {
        let message = format!(
            "the stdin of job {id} is not open: it was submitted without stdin_later, or its stdin has a writer already",
            id = job.id()
        );
        Error::conflict(job.id(), message)
    })?;
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
