//! Policies over HTTP: what would be allowed, without running anything.

use std::sync::Arc;

use capstan_core::policy::{Evaluation, PolicyRequest, Verdict, with_suggestion};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::read_progress;
use super::request::Request;

/// Bytes of the longest body.
const BODY: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    handler: String,
    #[serde(default)]
    policy: PolicyRequest,
}

/// `POST /policy/check`: what a job would get, and which rules stand against what it asks for.
pub(super) async fn check(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::of(&request, &[], &[])?;
    let body = read_progress::whole(request.body, BODY, &api.settings.http).await?;
    let asked: Json = serde_json::from_slice(&body)
        .map_err(|error| Error::bad_request(format!("the body: {}", with_suggestion(&error.to_string()))))?;
    let handler = api.engine.resolve(&asked.handler)?;
    let Evaluation { policy, findings } =
        api.engine.ceiling().evaluate(handler.name().as_str(), handler.handler().asked(), &asked.policy);
    let allowed = findings.iter().all(|finding| finding.verdict != Verdict::Denied);
    Ok(body::json(StatusCode::OK, &json!({"allowed": allowed, "policy": policy, "findings": findings})))
}
