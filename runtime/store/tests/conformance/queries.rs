//! Reading jobs and queues.

use std::time::Duration;

use capstan_core::outcome::Outcome;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{ArrayIndex, JobFilter, JobIds, State, Then, lowest_at};

use crate::work::Work;

async fn ids(work: &Work<'_>, filter: JobFilter) -> Vec<JobId> {
    let page = work.store.query(filter, None, 100).await.unwrap();
    assert_eq!(page.next, None);
    page.jobs.into_iter().map(|job| job.job.id).collect()
}

pub(crate) async fn filter_selects_by_each_field(work: &Work<'_>) {
    let start = work.now().wall;
    let failed = work.submit_with("a", |job| _ = job.labels.insert("env".into(), "prod".into())).await;
    let mut finish = work.finish(work.claim_one().await, Outcome::Exited { code: 1 }, Then::Dead);
    finish.end.error = Some("disk is 100% full_".into());
    work.store.finish(work.now(), finish).await.unwrap();
    work.pass(60);
    let middle = work.now().wall;
    let succeeded = work.run_one("a").await;
    let array = ArrayIndex { array: failed, index: 1 };
    let queued = work
        .submit_with("b", |job| {
            job.labels = [("env".to_owned(), "test".to_owned()), ("team".to_owned(), "x".to_owned())].into();
            job.array = Some(array);
            job.parent = Some(succeeded);
        })
        .await;
    let all = JobFilter::default();
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (filter, expected) in [
        (all.clone(), vec![queued, succeeded, failed]),
        (JobFilter { handler: Some("a".into()), ..all.clone() }, vec![succeeded, failed]),
        (JobFilter { handler: Some("A' OR 1=1".into()), ..all.clone() }, vec![]),
        (JobFilter { states: vec![State::Dead], ..all.clone() }, vec![failed]),
        (JobFilter { states: vec![State::Queued, State::Done], ..all.clone() }, vec![queued, succeeded]),
        (JobFilter { outcomes: vec!["exited".into()], ..all.clone() }, vec![succeeded, failed]),
        (JobFilter { outcomes: vec!["lost".into()], ..all.clone() }, vec![]),
        (JobFilter { labels: [label("env", "prod")].into(), ..all.clone() }, vec![failed]),
        (JobFilter { labels: [label("env", "test"), label("team", "x")].into(), ..all.clone() }, vec![queued]),
        (JobFilter { labels: [label("env", "prod"), label("team", "x")].into(), ..all.clone() }, vec![]),
        (JobFilter { since: Some(middle), ..all.clone() }, vec![queued, succeeded]),
        (JobFilter { since: Some(start), until: Some(middle), ..all.clone() }, vec![failed]),
        (JobFilter { error: Some("IS 100% FULL_".into()), ..all.clone() }, vec![failed]),
        (JobFilter { error: Some("is 1__% full".into()), ..all.clone() }, vec![]),
        (JobFilter { array: Some(failed), ..all.clone() }, vec![queued]),
        (JobFilter { parent: Some(succeeded), ..all.clone() }, vec![queued]),
    ] {
        assert_eq!(ids(work, filter.clone()).await, expected, "{filter:?}");
    }
    assert_eq!(work.job(queued).await.array, Some(array));
}

pub(crate) async fn pages_neither_lose_nor_repeat_jobs(work: &Work<'_>) {
    let mut expected = Vec::new();
    for _ in 0..25 {
        expected.insert(0, work.submit_one("a").await);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = work.store.query(JobFilter::default(), cursor, 4).await.unwrap();
        seen.extend(page.jobs.iter().map(|job| job.job.id));
        // Jobs that arrive meanwhile have higher ids.
        work.submit_one("a").await;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

pub(crate) async fn forged_cursor_is_only_a_position(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    for (cursor, expected) in [("00000000000000000000000000000000", 0), ("ffffffffffffffffffffffffffffffff", 1)] {
        let page = work.store.query(JobFilter::default(), Some(cursor.parse().unwrap()), 10).await.unwrap();
        assert_eq!(page.jobs.len(), expected);
    }
    let page = work.store.query(JobFilter::default(), Some(id), 10).await.unwrap();
    assert!(page.jobs.is_empty());
}

pub(crate) async fn prefix_names_at_most_two_jobs(work: &Work<'_>) {
    let first = work.submit_one("a").await;
    let text = first.to_string();
    assert_eq!(work.store.find_by_prefix(&text).await.unwrap(), [first]);
    assert_eq!(work.store.find_by_prefix(&text[..31]).await.unwrap(), [first]);
    work.submit_one("a").await;
    work.submit_one("a").await;
    assert_eq!(work.store.find_by_prefix(&text[..6]).await.unwrap().len(), 2);
    assert_eq!(work.store.find_by_prefix("").await.unwrap().len(), 2);
    for nothing in ["ffff", "zz", "é", "0x", &format!("{text}0")] {
        assert_eq!(work.store.find_by_prefix(nothing).await.unwrap(), []);
    }
}

pub(crate) async fn queues_count_jobs_by_state(work: &Work<'_>) {
    let oldest = work.now().wall;
    let later = work.now().after(Duration::from_secs(100)).wall;
    work.submit_with("a", |job| job.not_before = Some(later)).await;
    work.submit_with("a", |job| job.priority = -1).await;
    work.pass(5);
    for _ in 0..3 {
        work.submit_one("a").await;
    }
    let running = work.claim_one().await;
    let failing = work.claim_one().await;
    work.end(failing, Outcome::Lost, Then::Retry(later)).await;
    work.store.set_paused("z", true).await.unwrap();
    let queues = work.store.queues().await.unwrap();
    let names: Vec<_> = queues.iter().map(|queue| queue.handler.as_str()).collect();
    assert_eq!(names, ["a", "z"]);
    let a = &queues[0];
    assert_eq!((a.scheduled, a.waiting, a.queued, a.running, a.retrying), (1, 0, 2, 1, 1));
    assert_eq!((a.oldest, a.is_paused), (Some(oldest), false));
    assert_eq!((queues[1].queued, queues[1].oldest, queues[1].is_paused), (0, None, true));
    work.succeed(running).await;
    work.store.set_paused("z", false).await.unwrap();
    assert_eq!(work.store.queues().await.unwrap()[0].running, 0);
}

pub(crate) async fn next_due_is_the_earliest_time(work: &Work<'_>) {
    assert_eq!(work.store.next_due().await.unwrap(), None);
    let at = |seconds| work.now().after(Duration::from_secs(seconds)).wall;
    work.submit_with("a", |job| job.not_before = Some(at(10))).await;
    assert_eq!(work.store.next_due().await.unwrap(), Some(at(10)));
    work.submit_with("a", |job| job.start_deadline = Some(at(5))).await;
    assert_eq!(work.store.next_due().await.unwrap(), Some(at(5)));
    work.claim_one().await;
    assert_eq!(work.store.next_due().await.unwrap(), Some(at(10)));
    assert!(lowest_at(at(10)).to_string() > JobIds::default().create(at(9)).to_string());
}
