//! Tests of `Webhooks`: which ends are delivered, and what a delivery has.

use std::time::Duration;

use capstan_core::outcome::Outcome;
use capstan_core::secret::Secret;
use capstan_engine::job_store::{End, Now, Requirement, Then};
use serde_json::{Value, json};

use super::*;

fn webhook(handlers: &[&str], on: Requirement) -> Webhook {
    let config = WebhookConfig {
        endpoint: "http://127.0.0.1:1/".parse().unwrap(),
        handlers: handlers.iter().map(|handler| (*handler).to_owned()).collect(),
        on,
        timeout: Duration::from_secs(1),
        retry: retry_policy(None),
    };
    Webhook { config, key: SigningKey::new(&Secret::new(&[b'k'; 24]).unwrap()).unwrap(), tls: None }
}

fn ended(handler: &str, outcome: Outcome) -> JobRecord {
    let now = Now::read().wall;
    let mut job = NewJob::new(JobIds::default().create(now), HandlerName::new(handler).unwrap());
    job.labels.insert("team".into(), "a".into());
    let mut record = JobRecord::submitted(&job, now, true);
    record.start();
    record.finish(End { error: None, outcome, at: now }, Then::Done);
    record
}

/// Returns the webhooks that learn of the end of a job.
fn called(webhooks: &Webhooks, job: &JobRecord) -> Vec<String> {
    webhooks.follow_ups(job).into_iter().flat_map(|delivery| delivery.plan.args).collect()
}

#[test]
fn end_is_delivered_to_the_webhooks_that_name_the_handler_and_the_outcome() {
    let webhooks = Webhooks::new(
        [
            ("all", webhook(&["*"], Requirement::End)),
            ("failures", webhook(&["resize", "crop"], Requirement::Failure)),
            ("successes", webhook(&["resize"], Requirement::Success)),
            ("timeouts", webhook(&["*"], Requirement::Outcome(vec!["timed_out".into()]))),
        ]
        .map(|(name, webhook)| (name.to_owned(), webhook))
        .into(),
    );
    assert_eq!(called(&webhooks, &ended("resize", Outcome::SUCCESS)), ["all", "successes"]);
    assert_eq!(called(&webhooks, &ended("resize", Outcome::Lost)), ["all", "failures"]);
    assert_eq!(called(&webhooks, &ended("crop", Outcome::TimedOut { limit: 1.0 })), ["all", "failures", "timeouts"]);
    assert_eq!(called(&webhooks, &ended("other", Outcome::SUCCESS)), ["all"]);
    assert!(called(&webhooks, &ended(HANDLER, Outcome::Lost)).is_empty(), "deliveries have no webhooks");
    assert!(called(&Webhooks::default(), &ended("resize", Outcome::SUCCESS)).is_empty());
}

#[test]
fn delivery_is_a_job_with_the_payload_as_stdin() {
    let webhooks = Webhooks::new([("audit".to_owned(), webhook(&["*"], Requirement::End))].into());
    let job = ended("resize", Outcome::Exited { code: 3 });
    let delivery = webhooks.follow_ups(&job).remove(0);
    assert_eq!((delivery.handler.as_str(), delivery.parent, delivery.plan.caller), (HANDLER, Some(job.id), None));
    assert_eq!((delivery.plan.retry.attempts, delivery.plan.retry.base), (15, Duration::from_secs(5)));
    assert_eq!(delivery.labels["capstan.webhook"], "audit");
    let payload: Value = serde_json::from_slice(&delivery.stdin).unwrap();
    let time = |name: &str| payload[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!((time("submitted"), time("ended")), (job.submitted, job.end.as_ref().unwrap().at));
    let expected = json!({
        "event": "job.end", "delivery": delivery.id, "webhook": "audit", "job": job.id, "handler": "resize",
        "state": "done", "outcome": {"kind": "exited", "code": 3}, "exit_code": 3, "error": null, "attempts": 1,
        "labels": {"team": "a"}, "submitted": payload["submitted"], "ended": payload["ended"],
    });
    assert_eq!(payload, expected);
}
