//! `GET /jobs`: which jobs there are and have been, the last to start first, page by page.

use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_engine::history::Filter;
use capstan_engine::job::JobState;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::super::Api;
use super::super::body::{self, Body};
use super::super::error::Error;
use super::super::query::Parameters;
use super::super::request::Request;
use super::view::Told;

/// Jobs of a page, where nobody says how many.
const LIMIT: usize = 100;
/// The most jobs of a page.
const MAX_LIMIT: usize = 1000;

/// Lists jobs.
pub(in super::super) async fn list(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["handler", "outcome", "state", "since", "limit", "cursor"], &[])?;
    let filter = filter(&parameters)?;
    let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let limit = parameters.read("limit", &format!("a number from 1 to {MAX_LIMIT}"), limit)?.unwrap_or(LIMIT);
    let before = parameters.read("cursor", "one that this daemon gave", |text| api.cursors.number(text))?;
    let page = api.engine.history().list(&filter, before, limit);
    let jobs: Vec<_> = page.records.iter().map(Told::new).collect();
    let cursor = page.next.map(|number| api.cursors.of(number));
    Ok(body::json(StatusCode::OK, &json!({"jobs": jobs, "cursor": cursor})))
}

fn filter(parameters: &Parameters) -> Result<Filter, Error> {
    let token = |key, tokens: &[&str]| {
        let expected = format!("one of {}", tokens.join(", "));
        parameters.read(key, &expected, |text| tokens.contains(&text).then(|| text.to_owned()))
    };
    Ok(Filter {
        handler: parameters.get("handler").map(str::to_owned),
        outcome: token("outcome", &Outcome::KINDS)?,
        state: token("state", &JobState::TOKENS)?,
        since: parameters.time("since")?,
    })
}
