//! `GET /jobs`: lists the current and earlier jobs page by page, the latest first.

use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::history::Filter;
use capstan_engine::job::JobState;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::super::state::ApiState;
use super::view::JobView;

/// Jobs on a page by default.
const DEFAULT_LIMIT: usize = 100;
/// The most jobs on a page.
const MAX_LIMIT: usize = 1000;

/// Returns one page, and the cursor of the next.
pub(in super::super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["handler", "outcome", "state", "since", "limit", "cursor"], &[])?;
    let filter = filter(&parameters)?;
    let parse_limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let limit = parameters.parse_value("limit", &format!("a number from 1 to {MAX_LIMIT}"), parse_limit)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let cursor = |text: &str| state.cursors.decode(text);
    let before = parameters.parse_value("cursor", "a cursor that this daemon has returned since its start", cursor)?;
    let page = state.engine.history().list(&filter, before, limit);
    let jobs: Vec<_> = page.records.iter().map(JobView::new).collect();
    let cursor = page.next.map(|number| state.cursors.encode(number));
    Ok(body::json(StatusCode::OK, &json!({"jobs": jobs, "cursor": cursor})))
}

fn filter(parameters: &Parameters) -> Result<Filter, Error> {
    let token = |key, tokens: &[&str]| {
        let expected = format!("one of {}", tokens.join(", "));
        parameters.parse_value(key, &expected, |text| tokens.contains(&text).then(|| text.to_owned()))
    };
    Ok(Filter {
        handler: parameters.get("handler").map(str::to_owned),
        outcome: token("outcome", &Outcome::KINDS)?,
        state: token("state", &JobState::TOKENS)?,
        since: parameters.time("since")?,
    })
}
