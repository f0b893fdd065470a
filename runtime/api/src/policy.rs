//! `POST /policy/check`: which policy a job would get, without running it.

use std::sync::Arc;

use capstan_core::policy::{Evaluation, PolicyRequest, Verdict};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;
use super::request_body;
use super::state::ApiState;

/// Bytes of the longest body.
const MAX_BODY: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRequest {
    handler: String,
    #[serde(default)]
    policy: PolicyRequest,
}

/// `POST /policy/check`: returns the policy that a job would get, and the rules that deny or reduce what it requests.
pub(super) async fn check(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    request.reject_encoded_body()?;
    let body = request_body::read_to_end(request.body, MAX_BODY, &state.settings.http_limits).await?;
    let requested: CheckRequest = request_body::parse_json(&body)?;
    let handler = state.engine.resolve(&requested.handler)?;
    let Evaluation { policy, findings } =
        state.engine.ceiling().evaluate(handler.name().as_str(), handler.handler().policy_request(), &requested.policy);
    let allowed = findings.iter().all(|finding| finding.verdict != Verdict::Denied);
    Ok(body::json(StatusCode::OK, &json!({"allowed": allowed, "policy": policy, "findings": findings})))
}
