//! `POST /jobs/cancel`: cancels all durable jobs that match a filter. [`select`] finds the jobs of such a request.

use std::sync::Arc;

use capstan_core::outcome::CancelledBy;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{ChangeError, JobDetails, JobFilter, State};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::list::{FILTER_KEYS, filter};

/// Jobs that are read at once.
const PAGE: usize = 500;
/// The states in which a job can be cancelled.
const UNFINISHED: [State; 5] = [State::Scheduled, State::Waiting, State::Queued, State::Running, State::Retrying];

/// Cancels the jobs of a handler, a label, an array, or those that wait for the end of a job. Does not wait for their ends.
pub(in super::super) async fn cancel_many(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let known = [&FILTER_KEYS[..], &["dependants_of"]].concat();
    let parameters = Parameters::parse(&request, &known, &["label"])?;
    let mut filter = filter(&parameters)?;
    let parse = |text: &str| text.parse::<JobId>().ok();
    let dependency = parameters.parse_value("dependants_of", "the id of a job", parse)?;
    if filter == JobFilter::default() && dependency.is_none() {
        let message = "the request would cancel every job; name a handler, a label, an array, a state or a time";
        return Err(Error::bad_request(message));
    }
    if filter.states.is_empty() {
        filter.states = UNFINISHED.to_vec();
    }
    if dependency.is_some() {
        // Only jobs that wait have a dependency that has not ended.
        filter.states = vec![State::Waiting];
    }
    let queue = state.queue()?;
    let mut cancelled = Vec::new();
    for id in select(&state, filter, |details| depends_on(details, dependency)).await? {
        match queue.cancel(id, CancelledBy::Client).await {
            Ok(_) => cancelled.push(id),
            // It has ended or was removed since it was read.
            Err(ChangeError::Ended(_) | ChangeError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(body::json(StatusCode::ACCEPTED, &json!({"cancelled": cancelled.len(), "jobs": cancelled})))
}

fn depends_on(details: &JobDetails, dependency: Option<JobId>) -> bool {
    dependency.is_none_or(|id| details.job.after.jobs.iter().any(|other| other.job == id))
}

/// Returns the ids of all jobs that match, the one that was submitted last first.
///
/// # Errors
/// [`Error`] of the store.
pub(in super::super) async fn select(
    state: &ApiState,
    filter: JobFilter,
    matches: impl Fn(&JobDetails) -> bool,
) -> Result<Vec<JobId>, Error> {
    let store = state.queue()?.store();
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let page = store.query(filter.clone(), before, PAGE).await?;
        ids.extend(page.jobs.iter().filter(|details| matches(details)).map(|details| details.job.id));
        before = page.next;
        if before.is_none() {
            return Ok(ids);
        }
    }
}
