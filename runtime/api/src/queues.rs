//! `/queues`: the durable jobs of each handler that have not ended, and why they wait.

use std::sync::Arc;

use capstan_engine::handler::HandlerName;
use capstan_engine::job_store::{JobFilter, QueueStatus, State};
use capstan_engine::queue::Queue;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;

/// Waiting jobs that are shown of one queue.
const MAX_WAITING: usize = 100;
/// The states in which a job waits.
const WAITING: [State; 4] = [State::Scheduled, State::Waiting, State::Queued, State::Retrying];

/// `GET /queues`: lists the queues that are paused or have jobs.
pub(super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let queue = state.queue()?;
    let queues: Vec<_> = queue.store().queues().await?.iter().map(|status| view(queue, status)).collect();
    Ok(body::json(StatusCode::OK, &json!({"queues": queues})))
}

/// `GET /queues/{handler}`: returns one queue, and its waiting jobs with the reason of each, the one that was submitted last first.
pub(super) async fn inspect(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (queue, name) = (state.queue()?, name(&state, &request).await?);
    let status = queue.store().queues().await?.into_iter().find(|status| status.handler == name);
    let status = status.unwrap_or_else(|| QueueStatus::empty(name.clone(), false));
    let filter =
        JobFilter { handler: Some(name.as_str().to_owned()), states: WAITING.to_vec(), ..JobFilter::default() };
    let page = queue.store().query(filter, None, MAX_WAITING).await?;
    let waiting: Vec<_> = page
        .jobs
        .iter()
        .map(|details| {
            let reason = queue.why_waits(&details.job, status.is_paused);
            json!({"id": details.job.id, "state": details.job.state, "priority": details.job.priority, "why": reason})
        })
        .collect();
    let mut json = view(queue, &status);
    json["jobs"] = json!(waiting);
    json["more"] = json!(page.next.is_some());
    Ok(body::json(StatusCode::OK, &json))
}

/// `POST /queues/{handler}/pause`: jobs that are queued do not start until the queue is resumed. Those that run go on.
pub(super) async fn pause(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    set_paused(&state, &request, true).await
}

/// `POST /queues/{handler}/resume`
pub(super) async fn resume(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    set_paused(&state, &request, false).await
}

async fn set_paused(state: &ApiState, request: &Request, is_paused: bool) -> Result<Response<Body>, Error> {
    Parameters::parse(request, &[], &[])?;
    let name = name(state, request).await?;
    state.queue()?.set_paused(name.as_str(), is_paused).await?;
    Ok(body::json(StatusCode::OK, &json!({"handler": name.as_str(), "paused": is_paused})))
}

/// Returns the handler in the path. It may have been removed while it had jobs.
async fn name(state: &ApiState, request: &Request) -> Result<HandlerName, Error> {
    let name = HandlerName::new(&request.path_parameter)
        .map_err(|error| Error::new(StatusCode::BAD_REQUEST, "invalid_name", error.to_string()))?;
    if state.engine.resolve(name.as_str()).is_err()
        && !state.queue()?.store().queues().await?.iter().any(|status| status.handler == name)
    {
        let message = format!("no handler {}, and no queue of that name", name.as_str());
        return Err(Error::new(StatusCode::NOT_FOUND, "unknown_handler", message));
    }
    Ok(name)
}

fn view(queue: &Queue, status: &QueueStatus) -> Value {
    let QueueStatus { handler, is_paused, scheduled, waiting, queued, running, retrying, oldest } = status;
    let age = oldest.map(|oldest| Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0));
    json!({
        "handler": handler.as_str(),
        "paused": is_paused,
        "depth": scheduled + waiting + queued + running + retrying,
        "scheduled": scheduled,
        "waiting": waiting,
        "queued": queued,
        "running": running,
        "retrying": retrying,
        "oldest": oldest.map(|time| format!("{time:.9}")),
        "oldest_age": age,
        "ended_last_minute": queue.ended_last_minute(handler.as_str()),
    })
}
