//! [`WebhookConfig`]: what the operator sets of a webhook, checked.

use std::time::Duration;

use capstan_core::outcome::Outcome;
use capstan_core::retry::RetryPolicy;
use capstan_engine::job_store::{JobRecord, Requirement};

use super::endpoint::Endpoint;

/// Stands for the handlers of all jobs.
pub(crate) const ALL_HANDLERS: &str = "*";
/// The exit code of a delivery that the receiver refuses for good, and of one whose webhook is not configured any more.
pub(super) const GONE: u8 = 69;
pub(super) const NOT_CONFIGURED: u8 = 78;

/// What the operator sets of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WebhookConfig {
    pub(crate) endpoint: Endpoint,
    /// The handlers whose jobs it learns of, or [`ALL_HANDLERS`].
    pub(crate) handlers: Vec<String>,
    /// How a job must end.
    pub(crate) on: Requirement,
    /// The limit on the time of one request.
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
}

impl WebhookConfig {
    /// Returns whether it learns of the end of `job` with `outcome`.
    pub(super) fn is_for(&self, job: &JobRecord, outcome: &Outcome) -> bool {
        let is_named = |handler: &String| handler == ALL_HANDLERS || handler == job.handler.as_str();
        self.handlers.iter().any(is_named) && self.on.is_met_by(outcome)
    }
}

/// Returns the retry policy of deliveries: `set`, or by default 15 attempts within about 5 hours. What cannot succeed is not repeated.
pub(crate) fn retry_policy(set: Option<RetryPolicy>) -> RetryPolicy {
    let default = || RetryPolicy { attempts: 15, base: Duration::from_secs(5), ..RetryPolicy::default() };
    let mut policy = set.unwrap_or_else(default);
    policy.permanent.extend([GONE, NOT_CONFIGURED]);
    policy
}
