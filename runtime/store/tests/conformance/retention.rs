//! Removing ended jobs.

use std::time::Duration;

use capstan_engine::job::JobId;
use capstan_engine::job_store::{JobFilter, Retention, RetentionRule};

use crate::work::Work;

async fn run(work: &Work<'_>, handler: &str, count: usize, output: &str) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        work.submit_one(handler).await;
        let lease = work.claim_one().await;
        if !output.is_empty() {
            work.print(lease, output).await;
        }
        work.succeed(lease).await;
        work.pass(1);
        ids.push(lease.job);
    }
    ids
}

async fn kept(work: &Work<'_>) -> Vec<JobId> {
    let page = work.store.query(JobFilter::default(), None, 1000).await.unwrap();
    page.jobs.into_iter().rev().map(|job| job.job.id).collect()
}

async fn apply(work: &Work<'_>, rule: RetentionRule) -> u64 {
    let retention = Retention { default: rule, ..Retention::default() };
    work.store.remove_expired(work.now(), retention).await.unwrap()
}

pub(crate) async fn old_jobs_are_removed(work: &Work<'_>) {
    let old = run(work, "a", 3, "text").await;
    work.pass(100);
    let new = run(work, "a", 2, "").await;
    work.pass(100);
    let waiting = work.submit_one("a").await;
    work.pass(5);
    assert_eq!(apply(work, RetentionRule::default()).await, 0);
    assert_eq!(apply(work, RetentionRule { age: Some(Duration::from_secs(110)), ..Default::default() }).await, 3);
    assert_eq!(kept(work).await, [new[0], new[1], waiting]);
    assert!(work.store.job(old[0]).await.unwrap().is_none());
}

pub(crate) async fn surplus_jobs_are_removed_first_ended_first(work: &Work<'_>) {
    let ids = run(work, "a", 7, "").await;
    assert_eq!(apply(work, RetentionRule { count: Some(2), ..Default::default() }).await, 5);
    assert_eq!(kept(work).await, ids[5..]);
}

pub(crate) async fn jobs_are_removed_until_the_output_fits(work: &Work<'_>) {
    let ids = run(work, "a", 6, &"x".repeat(1000)).await;
    assert_eq!(apply(work, RetentionRule { bytes: Some(2500), ..Default::default() }).await, 4);
    assert_eq!(kept(work).await, ids[4..]);
}

pub(crate) async fn rule_of_a_handler_replaces_the_default(work: &Work<'_>) {
    let a = run(work, "a", 3, "").await;
    let b = run(work, "b", 3, "").await;
    let rule = |count| RetentionRule { count: Some(count), ..Default::default() };
    let retention = Retention { default: rule(1), handlers: [("b".to_owned(), rule(2))].into(), batch: 0 };
    assert_eq!(work.store.remove_expired(work.now(), retention).await.unwrap(), 3);
    assert_eq!(kept(work).await, [a[2], b[1], b[2]]);
}

pub(crate) async fn batch_bounds_a_call(work: &Work<'_>) {
    run(work, "a", 5, "").await;
    let rule = RetentionRule { count: Some(0), ..Default::default() };
    let retention = Retention { default: rule, batch: 3, ..Retention::default() };
    assert_eq!(work.store.remove_expired(work.now(), retention.clone()).await.unwrap(), 3);
    assert_eq!(work.store.remove_expired(work.now(), retention).await.unwrap(), 2);
}
