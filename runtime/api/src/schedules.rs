//! `/schedules`: jobs that are submitted again and again, or once at a later time.

use std::sync::Arc;

use capstan_engine::job::JobOptions;
use capstan_engine::schedule::ScheduleDefinition;
use capstan_engine::scheduler::ScheduleStatus;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::{self, Body};
use super::error::Error;
use super::idempotency_key;
use super::jobs::{build_model, check_labels, submission};
use super::query::Parameters;
use super::request::Request;
use super::request_body;
use super::state::ApiState;

/// Bytes of the longest definition. The scheduler has all definitions in memory.
const MAX_BODY: u64 = 1 << 20;

/// `GET /schedules`: lists the schedules by name.
pub(super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let schedules: Vec<_> = state.scheduler()?.list().await?.iter().map(view).collect();
    Ok(body::json(StatusCode::OK, &json!({"schedules": schedules})))
}

/// `GET /schedules/{name}`: returns a schedule with its definition and its next times.
pub(super) async fn inspect(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let status = state.scheduler()?.inspect(&request.handler_name()?).await?;
    Ok(body::json(StatusCode::OK, &view(&status)))
}

/// `PUT /schedules/{name}`: creates a schedule, or gives it another definition. It is on the disk once the response is sent.
pub(super) async fn put(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    request.reject_encoded_body()?;
    let name = request.handler_name()?;
    if request.content_length().is_some_and(|length| length > MAX_BODY) {
        return Err(Error::too_large(MAX_BODY));
    }
    let body = request_body::read_to_end(request.body, MAX_BODY, &state.settings.http_limits).await?;
    let mut definition = ScheduleDefinition::from_slice(request_body::without_bom(&body))?;
    definition.job.concurrency_key =
        definition.job.concurrency_key.take().map(idempotency_key::validate).transpose()?;
    check_job(&state, &definition)?;
    let put = state.scheduler()?.put(&name, definition).await?;
    let status = if put.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(body::json(status, &view(&put.status)))
}

/// `DELETE /schedules/{name}`: removes a schedule. Its jobs stay.
pub(super) async fn remove(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    state.scheduler()?.remove(&request.handler_name()?).await?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `POST /schedules/{name}/run`: submits its job now, and returns it as `POST /jobs` does.
pub(super) async fn run(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    if state.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    let caller = request.peer.caller().clone();
    let submitted = state.scheduler()?.run_now(&request.handler_name()?, Some(caller)).await?;
    let json = json!({"id": submitted.job, "durable": true, "state": submitted.state.token()});
    Ok(submission(StatusCode::ACCEPTED, submitted.job, &json))
}

/// `POST /schedules/{name}/pause`: it does not fire until it is resumed.
pub(super) async fn pause(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let status = state.scheduler()?.pause(&request.handler_name()?).await?;
    Ok(body::json(StatusCode::OK, &view(&status)))
}

/// `POST /schedules/{name}/resume`
pub(super) async fn resume(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let status = state.scheduler()?.resume(&request.handler_name()?).await?;
    Ok(body::json(StatusCode::OK, &view(&status)))
}

/// Builds the job as it would run now, and drops it: a typing error shows at once, and not when the schedule fires.
fn check_job(state: &ApiState, definition: &ScheduleDefinition) -> Result<(), Error> {
    let job = &definition.job;
    check_labels(&job.labels)?;
    let options = JobOptions {
        policy: job.policy.clone(),
        concurrency_key: job.concurrency_key.clone(),
        ..JobOptions::default()
    };
    build_model(state, job.handler.as_str(), &job.args, &job.env, options).map(drop)
}

fn view(status: &ScheduleStatus) -> Value {
    let time = |time: &Timestamp| time.to_string();
    json!({
        "name": status.name,
        "paused": status.is_paused,
        "manifest": status.owner,
        "last": status.last.as_ref().map(time),
        "next": status.upcoming.iter().map(time).collect::<Vec<_>>(),
        "error": status.error.as_ref().map(ToString::to_string),
        "definition": status.definition,
    })
}
