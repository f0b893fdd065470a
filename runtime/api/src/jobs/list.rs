//! `GET /jobs`: lists the current and earlier jobs page by page, the latest first.
//!
//! A list has the durable jobs of the store and those that the daemon keeps in memory, merged by the time of their submission.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::history;
use capstan_engine::job::{JobId, JobState};
use capstan_engine::job_store::{JobFilter, State};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::cursors::Position;
use super::lookup::{DurableJob, FoundJob};

/// Jobs on a page by default.
const DEFAULT_LIMIT: usize = 100;
/// The most jobs on a page.
const MAX_LIMIT: usize = 1000;

/// The parameters that select jobs.
pub(in super::super) const FILTER_KEYS: [&str; 9] =
    ["handler", "outcome", "state", "since", "until", "ended_since", "error", "array", "parent"];

/// Returns one page, and the cursor of the next.
pub(in super::super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    list_filtered(&state, &request, None).await
}

/// Returns one page of the jobs in the state `only`, or in any state that the request names.
pub(in super::super) async fn list_filtered(
    state: &ApiState,
    request: &Request,
    only: Option<State>,
) -> Result<Response<Body>, Error> {
    let known = [&FILTER_KEYS[..], &["limit", "cursor"]].concat();
    let parameters = Parameters::parse(request, &known, &["label"])?;
    let mut filter = filter(&parameters)?;
    filter.states = only.map_or(filter.states, |state| vec![state]);
    let parse_limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let limit = parameters.parse_value("limit", &format!("a number from 1 to {MAX_LIMIT}"), parse_limit)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let cursors = state.cursors()?;
    let decode = |text: &str| cursors.decode(text);
    let position = parameters.parse_value("cursor", "a cursor that this daemon has returned", decode)?;
    let page = page(state, filter, position.unwrap_or(Position::START), limit).await?;
    let jobs: Vec<_> = page.jobs.iter().map(FoundJob::view).collect();
    let cursor = page.next.map(|position| cursors.encode(position));
    Ok(body::json(StatusCode::OK, &json!({"jobs": jobs, "cursor": cursor})))
}

struct Page {
    jobs: Vec<FoundJob>,
    next: Option<Position>,
}

async fn page(state: &ApiState, filter: JobFilter, position: Position, limit: usize) -> Result<Page, Error> {
    let mut in_memory = match of_memory(&filter).filter(|_| position.in_memory > 0) {
        Some(filter) => state.engine.history().list(&filter, Some(position.in_memory), limit),
        None => history::Page { records: Vec::new(), next: None },
    };
    let store = state.queue()?.store();
    let mut durable = match position.durable {
        Some(before) => store.query(filter, Some(before), limit).await?,
        None => capstan_engine::job_store::JobPage { jobs: Vec::new(), next: None },
    };
    let mut next = position;
    let mut jobs = Vec::new();
    in_memory.records.reverse();
    durable.jobs.reverse();
    while jobs.len() < limit {
        let of_memory = in_memory.records.last().map(|record| record.spec.created);
        let of_store = durable.jobs.last().map(|details| details.job.submitted);
        if of_memory.is_some() && of_memory >= of_store {
            let record = in_memory.records.pop().expect("it is the last one");
            next.in_memory = record.number();
            jobs.push(FoundJob::InMemory(record));
        } else if let Some(details) = durable.jobs.pop() {
            next.durable = Some(details.job.id);
            jobs.push(FoundJob::Durable(DurableJob::new(state, details)?.into()));
        } else {
            break;
        }
    }
    if in_memory.records.is_empty() && in_memory.next.is_none() {
        next.in_memory = 0;
    }
    if durable.jobs.is_empty() && durable.next.is_none() {
        next.durable = None;
    }
    Ok(Page { jobs, next: Some(next).filter(|next| *next != Position::default()) })
}

/// Returns the filter of jobs in memory. `None` if it excludes them all.
fn of_memory(filter: &JobFilter) -> Option<history::Filter> {
    let JobFilter { handler, states, outcomes, labels, since, until, ended_since, error, array, parent } = filter;
    if !labels.is_empty() || array.is_some() || parent.is_some() {
        return None;
    }
    let possible = |state: &State| JobState::TOKENS.into_iter().find(|token| *token == state.token());
    let of_memory: Vec<_> = states.iter().filter_map(possible).collect();
    if of_memory.is_empty() && !states.is_empty() {
        return None;
    }
    Some(history::Filter {
        handler: handler.clone(),
        outcome: outcomes.first().cloned(),
        states: of_memory,
        since: *since,
        until: *until,
        ended_since: *ended_since,
        error: error.clone(),
    })
}

/// Reads the parameters that select jobs.
///
/// # Errors
/// [`Error`], 400.
pub(in super::super) fn filter(parameters: &Parameters) -> Result<JobFilter, Error> {
    let outcome = |text: &str| Outcome::KINDS.contains(&text).then(|| text.to_owned());
    let outcome = parameters.parse_value("outcome", &format!("one of {}", Outcome::KINDS.join(", ")), outcome)?;
    let expected = format!("one or several, separated by commas, of {}", State::ALL.map(State::token).join(", "));
    let state = |text: &str| State::ALL.into_iter().find(|state| state.token() == text);
    let states = |text: &str| text.split(',').map(state).collect::<Option<Vec<_>>>();
    let id = |key| parameters.parse_value(key, "the id of a job", |text| text.parse::<JobId>().ok());
    Ok(JobFilter {
        handler: parameters.get("handler").map(str::to_owned),
        states: parameters.parse_value("state", &expected, states)?.unwrap_or_default(),
        outcomes: outcome.into_iter().collect(),
        labels: labels(parameters)?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
        ended_since: parameters.time("ended_since")?,
        error: parameters.get("error").map(str::to_owned),
        array: id("array")?,
        parent: id("parent")?,
    })
}

fn labels(parameters: &Parameters) -> Result<BTreeMap<String, String>, Error> {
    let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs = parameters.all("label").map(|text| {
        pair(text).ok_or_else(|| Error::bad_request(format!("label is {text:?}, which is not NAME=VALUE")))
    });
    pairs.collect()
}
