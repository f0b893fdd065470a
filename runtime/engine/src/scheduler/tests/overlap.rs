//! What happens if jobs of a schedule have not ended when it fires.

use capstan_core::outcome::{CancelledBy, Outcome};
use serde_json::json;

use super::super::*;
use super::world::World;
use crate::job_store::State;

/// Returns a scheduler with an hourly schedule whose first job runs.
async fn with_running_job(overlap: &str) -> World {
    let world = World::new();
    world.put("hourly", json!({"cron": "@hourly", "overlap": overlap})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    assert_eq!(world.claim().await.len(), 1);
    world
}

#[tokio::test]
async fn allow_submits_jobs_beside_others() {
    let world = with_running_job("allow").await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    assert_eq!(world.states().await, [State::Running, State::Queued]);
}

#[tokio::test]
async fn skip_submits_no_job_beside_another() {
    let mut world = World::new();
    world.put("hourly", json!({"cron": "@hourly", "overlap": "skip"})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    let claimed = world.claim().await;
    world.fire_at("2026-01-01T13:00:00Z").await;
    // Another daemon knows only what the store has.
    world.restart();
    world.fire_at("2026-01-01T14:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z"]);
    let status = world.scheduler.inspect("hourly").await.unwrap();
    assert_eq!(status.last.unwrap().to_string(), "2026-01-01T11:00:00Z", "it did not fire for the skipped times");
    world.finish(&claimed[0]).await;
    world.fire_at("2026-01-01T15:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z", "2026-01-01T15:00:00Z"]);
}

#[tokio::test]
async fn queue_runs_jobs_one_after_the_other() {
    let mut world = with_running_job("queue").await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    world.restart();
    world.fire_at("2026-01-01T13:00:00Z").await;
    assert_eq!(world.states().await, [State::Running, State::Waiting, State::Waiting]);
    // The first one was claimed by `with_running_job`; each further one runs once those before it have ended, although they fail.
    let ids: Vec<_> = world.jobs().await.into_iter().map(|job| job.id).collect();
    world.store.cancel(world.now(), ids[1], CancelledBy::Client).await.unwrap();
    assert!(world.claim().await.is_empty(), "the job before the cancelled one still runs");
    let lease = crate::job_store::Lease { job: ids[0], attempt: 1 };
    let running = world.store.job(ids[0]).await.unwrap().unwrap().job;
    world.finish(&crate::job_store::Claimed { lease, job: running, stdin: bytes::Bytes::new() }).await;
    let last = world.claim().await;
    assert_eq!(last.iter().map(|claimed| claimed.lease.job).collect::<Vec<_>>(), [ids[2]]);
}

#[tokio::test]
async fn replace_cancels_others_and_waits_for_their_end() {
    let world = with_running_job("replace").await;
    let running = world.jobs().await[0].id;
    world.fire_at("2026-01-01T12:00:00Z").await;
    world.fire_at("2026-01-01T13:00:00Z").await;
    assert_eq!(world.states().await, [State::Running, State::Done, State::Waiting]);
    let jobs = world.jobs().await;
    assert!(jobs[0].cancel_requested.is_some());
    assert!(matches!(jobs[1].end.as_ref().unwrap().outcome, Outcome::Cancelled { .. }));
    let lease = crate::job_store::Lease { job: running, attempt: 1 };
    world.finish(&crate::job_store::Claimed { lease, job: jobs[0].clone(), stdin: bytes::Bytes::new() }).await;
    assert_eq!(world.claim().await[0].lease.job, jobs[2].id);
}

#[tokio::test]
async fn overlap_applies_to_each_time_that_is_made_up_for() {
    for (overlap, expected) in [
        ("allow", vec![State::Queued, State::Queued, State::Queued]),
        ("skip", vec![State::Queued]),
        ("queue", vec![State::Queued, State::Waiting, State::Waiting]),
        ("replace", vec![State::Done, State::Done, State::Queued]),
    ] {
        let world = World::new();
        world.put("hourly", json!({"cron": "@hourly", "catch_up": "all", "overlap": overlap})).await;
        world.fire_at("2026-01-01T13:30:00Z").await;
        assert_eq!(world.states().await, expected, "{overlap}");
    }
}

#[tokio::test]
async fn change_from_allow_to_skip_finds_the_jobs_before_it() {
    let world = with_running_job("allow").await;
    world.put("hourly", json!({"cron": "@hourly", "overlap": "skip"})).await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    assert_eq!(world.states().await, [State::Running]);
}

#[tokio::test]
async fn jobs_of_other_schedules_and_of_nobody_do_not_count() {
    let world = World::new();
    for name in ["a", "b"] {
        world.put(name, json!({"cron": "@hourly", "overlap": "skip"})).await;
    }
    world.scheduler.run_now("a", None).await.unwrap();
    let ids = crate::job_store::JobIds::default();
    let handler = crate::handler::HandlerName::new("report").unwrap();
    let other = NewJob::new(ids.create(world.now().wall), handler);
    world.store.submit(world.now(), vec![other]).await.unwrap().remove(0).unwrap();
    world.fire_at("2026-01-01T11:00:00Z").await;
    let of_b =
        world.jobs().await.into_iter().filter(|job| job.labels.get("capstan.schedule").is_some_and(|name| name == "b"));
    assert_eq!((world.jobs().await.len(), of_b.count()), (3, 1));
}
