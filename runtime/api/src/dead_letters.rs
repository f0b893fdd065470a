//! `/dead-letters`: jobs that have failed although they asked for retries, or were lost too often.

use std::sync::Arc;

use capstan_engine::job_store::{ChangeError, JobFilter, State};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{self, Body};
use super::error::Error;
use super::jobs::bulk::select;
use super::jobs::list::{FILTER_KEYS, filter, list_filtered};
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;

/// `GET /dead-letters`: lists them page by page, with the filters of a list of jobs.
pub(super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    list_filtered(&state, &request, Some(State::Dead)).await
}

/// `POST /dead-letters/requeue`: queues those that match, as if no run counted.
pub(super) async fn requeue(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let queue = state.queue()?;
    let mut requeued = Vec::new();
    for id in select(&state, dead(&request)?, |_| true).await? {
        match queue.requeue(id, None).await {
            Ok(()) => requeued.push(id),
            // It was queued or removed since it was read.
            Err(ChangeError::NotEnded(_) | ChangeError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(body::json(StatusCode::ACCEPTED, &json!({"requeued": requeued.len(), "jobs": requeued})))
}

/// `DELETE /dead-letters`: removes those that match, with their attempts and output.
pub(super) async fn purge(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let store = state.queue()?.store();
    let mut removed = 0;
    for id in select(&state, dead(&request)?, |_| true).await? {
        match store.remove(id).await {
            Ok(()) => removed += 1,
            Err(ChangeError::NotEnded(_) | ChangeError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(body::json(StatusCode::OK, &json!({"removed": removed})))
}

/// Returns the filter of a request that changes dead letters. It must name some, or say `all=1`.
fn dead(request: &Request) -> Result<JobFilter, Error> {
    let known = [&FILTER_KEYS[..], &["all"]].concat();
    let parameters = Parameters::parse(request, &known, &["label"])?;
    let filter = filter(&parameters)?;
    if parameters.get("state").is_some() {
        return Err(Error::bad_request("dead letters have one state; leave out state"));
    }
    if filter == JobFilter::default() && parameters.flag("all")? != Some(true) {
        return Err(Error::bad_request("the request would change every dead letter; name some of them, or send all=1"));
    }
    Ok(JobFilter { states: vec![State::Dead], ..filter })
}
