//! `PlanEdit`: what a client changes of a job that is to run again.

use capstan_core::env::Env;
use capstan_core::policy::PolicyRequest;
use capstan_core::retry::RetryPolicy;
use capstan_engine::job_store::Plan;
use serde::Deserialize;

use super::super::error::Error;
use super::super::request::Request;
use super::super::request_body;
use super::super::state::ApiState;

/// Bytes of the longest body.
const MAX_BODY: u64 = 1 << 20;

/// What is replaced; fields that are missing stay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct PlanEdit {
    args: Option<Vec<String>>,
    env: Option<Env>,
    policy: Option<PolicyRequest>,
    retry: Option<RetryPolicy>,
}

impl PlanEdit {
    /// Reads the body of `request`. An empty one changes nothing.
    ///
    /// # Errors
    /// [`Error`]: 400, 408 and 413 as for any body.
    pub(in super::super) async fn read(state: &ApiState, request: Request) -> Result<Self, Error> {
        request.reject_encoded_body()?;
        let body = request_body::read_to_end(request.body, MAX_BODY, &state.settings.http_limits).await?;
        if body.is_empty() { Ok(Self::default()) } else { request_body::parse_json(&body) }
    }

    /// Returns the changed plan, or `None` if nothing changes.
    ///
    /// # Errors
    /// [`Error`], 400, for a retry policy that makes no sense.
    pub(in super::super) fn apply(self, mut plan: Plan) -> Result<Option<Plan>, Error> {
        let Self { args, env, policy, retry } = self;
        let is_change = args.is_some() || env.is_some() || policy.is_some() || retry.is_some();
        if let Some(retry) = &retry {
            retry.check().map_err(|error| Error::bad_request(error.to_string()))?;
        }
        plan.args = args.unwrap_or(plan.args);
        plan.env = env.unwrap_or(plan.env);
        plan.policy = policy.unwrap_or(plan.policy);
        plan.retry = retry.unwrap_or(plan.retry);
        Ok(is_change.then_some(plan))
    }
}
