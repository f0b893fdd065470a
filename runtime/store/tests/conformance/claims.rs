//! Claiming, finishing and losing jobs.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    AttemptError, AttemptRecord, ClaimRequest, End, Exclusions, FinishedRun, JobFilter, Now, State, Then,
};

use crate::work::{LONG, Work};

const FAILED: Outcome = Outcome::Exited { code: 1 };

pub(crate) async fn claim_returns_jobs_with_plan_and_stdin(work: &Work<'_>) {
    let id = work
        .submit_with("a", |job| {
            job.plan.args = vec!["one".into()];
            job.stdin = Bytes::from_static(b"some input");
        })
        .await;
    let claimed = work.claim(5).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].lease.job, claimed[0].lease.attempt), (id, 1));
    assert_eq!(claimed[0].job.plan.args, ["one"]);
    assert_eq!(claimed[0].job.state, State::Running);
    assert_eq!(&claimed[0].stdin[..], b"some input");
    let details = work.store.job(id).await.unwrap().unwrap();
    assert_eq!(details.job, claimed[0].job);
    assert_eq!((details.attempts[0].number, details.attempts[0].worker.as_str()), (1, "test"));
    assert_eq!(details.attempts[0].started, work.now().wall);
    assert!(work.claim(5).await.is_empty());
}

pub(crate) async fn jobs_of_a_handler_run_by_priority_then_age(work: &Work<'_>) {
    let mut ids = Vec::new();
    for priority in [0, 0, 5, -5, 5, i32::MIN, i32::MAX] {
        ids.push(work.submit_with("a", |job| job.priority = priority).await);
    }
    let expected: Vec<JobId> = [6, 2, 4, 0, 1, 3, 5].map(|index| ids[index]).into();
    assert_eq!(work.claim_all().await, expected);
}

pub(crate) async fn handlers_and_keys_take_turns(work: &Work<'_>) {
    let mut names = std::collections::HashMap::new();
    // A customer with many jobs does not hold up another one, and neither does a handler.
    for (name, handler, key) in [
        ("a1", "a", Some("one")),
        ("a2", "a", Some("one")),
        ("a3", "a", Some("one")),
        ("a4", "a", Some("two")),
        ("a5", "a", None),
        ("b1", "b", None),
        ("b2", "b", None),
    ] {
        let id = work.submit_with(handler, |job| job.concurrency_key = key.map(Into::into)).await;
        names.insert(id, name);
    }
    let order: Vec<_> = work.claim_all().await.iter().map(|id| names[id]).collect();
    assert_eq!(order, ["a5", "b1", "a1", "b2", "a4", "a2", "a3"]);
}

pub(crate) async fn excluded_handlers_and_keys_are_not_claimed(work: &Work<'_>) {
    let blocked = work.submit_with("a", |job| job.concurrency_key = Some("full".into())).await;
    let free = work.submit_with("a", |job| job.concurrency_key = Some("free".into())).await;
    let low = work.submit_with("a", |job| job.priority = -1).await;
    let other = work.submit_one("b").await;
    let exclude = Exclusions {
        handlers: ["b".to_owned()].into(),
        keys: [("a".to_owned(), "full".to_owned()), ("b".to_owned(), "free".to_owned())].into(),
    };
    let claimed: Vec<_> = work.claim_with(9, exclude).await.iter().map(|claimed| claimed.lease.job).collect();
    assert_eq!(claimed, [free, low]);
    let mut rest = work.claim_all().await;
    rest.sort_by_key(JobId::to_string);
    assert_eq!(rest, [blocked, other]);
}

pub(crate) async fn paused_queue_is_not_claimed(work: &Work<'_>) {
    let paused = work.submit_one("a").await;
    let other = work.submit_one("b").await;
    work.store.set_paused("a", true).await.unwrap();
    assert_eq!(work.claim_all().await, [other]);
    assert!(work.store.queues().await.unwrap().iter().any(|queue| queue.handler.as_str() == "a" && queue.is_paused));
    work.store.set_paused("a", false).await.unwrap();
    assert_eq!(work.claim_all().await, [paused]);
}

pub(crate) async fn scheduled_job_is_claimed_when_it_is_due(work: &Work<'_>) {
    let due = work.now().after(Duration::from_secs(10)).wall;
    let later = work.submit_with("a", |job| job.not_before = Some(due)).await;
    let past = work.submit_with("a", |job| job.not_before = Some(work.now().wall)).await;
    assert_eq!((work.state(later).await, work.job(later).await.due), (State::Scheduled, Some(due)));
    assert_eq!(work.claim_all().await, [past]);
    work.pass(9);
    assert_eq!(work.claim_all().await, []);
    work.pass(1);
    assert_eq!(work.claim_all().await, [later]);
}

pub(crate) async fn missed_start_deadline_refuses_the_job(work: &Work<'_>) {
    let deadline = work.now().after(Duration::from_secs(10)).wall;
    let late = work.submit_with("a", |job| job.start_deadline = Some(deadline)).await;
    let started = work.submit_with("b", |job| job.start_deadline = Some(deadline)).await;
    let exclude = Exclusions { handlers: ["a".to_owned()].into(), ..Exclusions::default() };
    let lease = work.claim_with(1, exclude).await[0].lease;
    assert_eq!(lease.job, started);
    work.pass(10);
    assert_eq!(work.claim_all().await, []);
    let record = work.job(late).await;
    assert!(matches!(record.end.unwrap().outcome, Outcome::Refused { why } if why.contains("start deadline")));
    work.succeed(lease).await;
}

pub(crate) async fn attempt_is_finished_once(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    let lease = work.claim_one().await;
    assert_eq!(work.end(lease, FAILED, Then::Done).await, State::Done);
    let again = work.store.finish(work.now(), work.finish(lease, Outcome::SUCCESS, Then::Done)).await;
    assert_eq!(again, Err(AttemptError::Stale { job: id, attempt: 1 }));
    let details = work.store.job(id).await.unwrap().unwrap();
    assert_eq!(details.job.end.as_ref().unwrap().outcome, FAILED);
    assert_eq!(details.attempts[0].end, details.job.end);
    assert!((details.attempts[0].usage.cpu_seconds - 0.5).abs() < 1e-9);
    let mut forged = lease;
    forged.attempt = 7;
    let error = work.store.finish(work.now(), work.finish(forged, Outcome::SUCCESS, Then::Done)).await.unwrap_err();
    assert_eq!(error, AttemptError::Stale { job: id, attempt: 7 });
}

pub(crate) async fn lease_that_ran_out_is_lost_once_and_its_worker_is_stale(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    let first = work.claim_one().await;
    assert_eq!(work.store.expire(work.now()).await.unwrap(), []);
    work.pass(LONG.as_secs());
    assert_eq!(work.store.expire(work.now()).await.unwrap(), [first]);
    assert_eq!(work.store.expire(work.now()).await.unwrap(), []);
    assert_eq!(work.state(id).await, State::Retrying);
    work.pass(1);
    let second = work.claim_one().await;
    assert_eq!((second.job, second.attempt), (id, 2));
    let late = work.store.finish(work.now(), work.finish(first, Outcome::SUCCESS, Then::Done)).await;
    assert_eq!(late, Err(AttemptError::Stale { job: id, attempt: 1 }));
    assert_eq!(work.store.heartbeat(work.now(), vec![first, second], LONG).await.unwrap(), [first]);
    work.succeed(second).await;
    let attempts = work.store.job(id).await.unwrap().unwrap().attempts;
    let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.end.unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Lost, Outcome::SUCCESS]);
}

pub(crate) async fn heartbeat_keeps_a_lease_whatever_the_wall_clock_does(work: &Work<'_>) {
    work.submit_one("a").await;
    let lease = work.claim_one().await;
    // The wall clock jumps by a year in both directions while a second passes.
    let second = work.now().after(Duration::from_secs(1));
    let year = Duration::from_secs(365 * 24 * 3600);
    for wall in [second.wall.checked_add(year).unwrap(), second.wall.checked_sub(year).unwrap()] {
        let jumped = Now { wall, ..second };
        assert_eq!(work.store.expire(jumped).await.unwrap(), []);
        let request = ClaimRequest::new("w", 1, LONG);
        assert!(work.store.claim(jumped, request).await.unwrap().is_empty());
    }
    work.pass(LONG.as_secs() - 1);
    assert_eq!(work.store.heartbeat(work.now(), vec![lease], LONG).await.unwrap(), []);
    work.pass(LONG.as_secs() - 1);
    assert_eq!(work.store.expire(work.now()).await.unwrap(), []);
    work.succeed(lease).await;
    assert_eq!(work.store.heartbeat(work.now(), vec![lease], LONG).await.unwrap(), [lease]);
}

pub(crate) async fn failed_run_is_retried_when_it_is_due(work: &Work<'_>) {
    let id = work.submit_one("a").await;
    let at = work.now().after(Duration::from_secs(30)).wall;
    assert_eq!(work.end(work.claim_one().await, FAILED, Then::Retry(at)).await, State::Retrying);
    assert_eq!(work.job(id).await.due, Some(at));
    assert!(work.claim(1).await.is_empty());
    work.pass(30);
    assert_eq!(work.end(work.claim_one().await, FAILED, Then::Dead).await, State::Dead);
    let record = work.job(id).await;
    assert_eq!((record.attempt, record.runs.ended, record.runs.lost), (2, 2, 0));
    assert_eq!(record.end.unwrap().outcome, FAILED);
}

pub(crate) async fn run_without_the_queue_is_recorded(work: &Work<'_>) {
    let (job, other) = (work.new_job("a"), work.new_job("a"));
    let (id, started) = (job.id, work.now().wall);
    work.pass(2);
    let end = End { outcome: FAILED, error: Some("why".into()), at: work.now().wall };
    let usage = UsageReport { cpu_seconds: 0.25, ..UsageReport::default() };
    let run = |job| FinishedRun { job, worker: "sync".into(), started, end: end.clone(), usage: usage.clone() };
    work.store.record_finished(work.now(), vec![run(job), run(other)]).await.unwrap();
    let details = work.store.job(id).await.unwrap().unwrap();
    assert_eq!((details.job.state, details.job.attempt, details.job.end), (State::Done, 1, Some(end.clone())));
    let output = 0;
    assert_eq!(
        details.attempts,
        [AttemptRecord { number: 1, worker: "sync".into(), started, end: Some(end.clone()), usage, output }]
    );
    assert!(work.claim(1).await.is_empty() && work.store.queues().await.unwrap().is_empty());
    let page = work.store.query(JobFilter { handler: Some("a".into()), ..JobFilter::default() }, None, 10).await;
    assert_eq!(page.unwrap().jobs.len(), 2);
    work.store.remove(id).await.unwrap();
}

pub(crate) async fn watch_learns_of_every_change(work: &Work<'_>) {
    let mut all = work.store.watchers().all();
    let id = work.submit_one("a").await;
    let mut watch = work.store.watchers().job(id);
    let other = work.submit_one("b").await;
    let lease = work.claim_one().await;
    watch.changed().await;
    work.succeed(lease).await;
    watch.changed().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(all.next().await.unwrap().unwrap());
    }
    let seen: Vec<_> = seen.into_iter().map(|change| (change.job, change.state.unwrap())).collect();
    let states: Vec<_> = seen.iter().map(|(job, changed)| (*job, changed.state)).collect();
    assert_eq!(states, [(id, State::Queued), (other, State::Queued), (id, State::Running), (id, State::Done)]);
    assert_eq!((seen[3].1.outcome.as_ref(), seen[3].1.attempt), (Some(&Outcome::SUCCESS), 1));
}
