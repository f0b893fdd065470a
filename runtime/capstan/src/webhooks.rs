//! [`Webhooks`]: calls other services when durable jobs end.
//!
//! ```text
//! end of a job ─▶ follow_ups: a job of `webhook`, in the same transaction ─▶ queue ─▶ deliver: POST ─▶ receiver
//!                                                                            ▲           │
//!                                                                            └─ retries ─┘
//! ```
//!
//! A delivery is a durable job itself. So it survives the daemon, is retried by the same rules, becomes a dead letter, and is seen with the
//! same commands. Its argument is the name of the webhook, and its stdin is the payload. Where it goes is in the configuration only.
//!
//! In reading order:
//!
//! - [`config`]: what the operator sets;
//! - [`endpoint`]: the URL;
//! - [`signature`]: the key, and what it signs;
//! - [`payload`]: what is sent;
//! - [`exchange`]: one request over HTTP;
//! - [`deliver`](mod@deliver): one run of a delivery.

mod config;
mod deliver;
mod endpoint;
mod exchange;
mod payload;
mod signature;

use std::collections::BTreeMap;

use bytes::Bytes;
use capstan_engine::handler::HandlerName;
use capstan_engine::job_store::{FollowUps, JobIds, JobRecord, NewJob, Plan};
use capstan_listen::tls;
use capstan_sandbox::Resolver;

pub(crate) use self::config::{ALL_HANDLERS, WebhookConfig, retry_policy};
pub(crate) use self::deliver::deliver;
pub(crate) use self::endpoint::InvalidUrl;
pub(crate) use self::signature::{InvalidKey, SigningKey};

/// The name of the handler whose jobs are deliveries.
pub(crate) const HANDLER: &str = "webhook";
/// The labels of a delivery: the webhook, and the job that has ended.
const WEBHOOK_LABEL: &str = "capstan.webhook";
const JOB_LABEL: &str = "capstan.job";
/// Deliveries of a webhook that run at a time. A receiver that does not answer holds no more slots than these.
const CONCURRENCY: u8 = 8;

/// A webhook, ready for use.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) config: WebhookConfig,
    pub(crate) key: SigningKey,
    /// The certificates that it trusts. `None` for plain HTTP.
    pub(crate) tls: Option<tls::Client>,
}

/// All webhooks, by name.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    webhooks: BTreeMap<String, Webhook>,
    resolver: Resolver,
    ids: JobIds,
}

impl Webhooks {
    pub(crate) fn new(webhooks: BTreeMap<String, Webhook>) -> Self {
        Self { webhooks, ..Self::default() }
    }
}

impl FollowUps for Webhooks {
    fn follow_ups(&self, ended: &JobRecord) -> Vec<NewJob> {
        let Some(end) = ended.end.as_ref().filter(|_| ended.handler.as_str() != HANDLER) else { return Vec::new() };
        let called = self.webhooks.iter().filter(|(_, webhook)| webhook.config.is_for(ended, &end.outcome));
        called.map(|(name, webhook)| self.delivery(name, webhook, ended)).collect()
    }
}

impl Webhooks {
    /// Returns the job that tells `webhook` of the end of `ended`.
    fn delivery(&self, name: &str, webhook: &Webhook, ended: &JobRecord) -> NewJob {
        let at = ended.end.as_ref().map_or(ended.submitted, |end| end.at);
        let id = self.ids.create(at);
        // The last byte of an id is random, so this spreads the deliveries, and keeps those about one job in their order.
        let turn = ended.id.to_bytes()[15] % CONCURRENCY;
        let plan = Plan { args: vec![name.to_owned()], retry: webhook.config.retry.clone(), ..Plan::default() };
        NewJob {
            plan,
            stdin: Bytes::from(payload::of(ended, name, id)),
            labels: [(WEBHOOK_LABEL, name.to_owned()), (JOB_LABEL, ended.id.to_string())]
                .map(|(label, value)| (label.to_owned(), value))
                .into(),
            // Jobs with the same key run one at a time.
            concurrency_key: Some(format!("{name}.{turn}")),
            parent: Some(ended.id),
            ..NewJob::new(id, HandlerName::new(HANDLER).expect("it is a valid name"))
        }
    }
}

#[cfg(test)]
mod tests;
