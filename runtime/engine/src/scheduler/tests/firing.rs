//! For which times a schedule submits jobs.

use serde_json::json;

use super::super::*;
use super::world::{World, definition, time};
use crate::schedule::SCHEDULE_LABEL;

#[tokio::test]
async fn schedule_submits_a_job_at_each_of_its_times() {
    let world = World::new();
    world.put("hourly", json!({"cron": "@hourly", "job": {"handler": "report", "args": ["-v"]}})).await;
    assert_eq!(world.fire_at("2026-01-01T10:59:59Z").await.as_deref(), Some("2026-01-01T11:00:00Z"));
    assert!(world.jobs().await.is_empty());
    for _ in 0..3 {
        assert_eq!(world.fire_at("2026-01-01T11:00:00.2Z").await.as_deref(), Some("2026-01-01T12:00:00Z"));
    }
    world.fire_at("2026-01-01T12:00:01Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"]);
    let job = &world.jobs().await[0];
    assert_eq!((job.handler.as_str(), job.plan.args[0].as_str()), ("report", "-v"));
    assert_eq!(job.labels[SCHEDULE_LABEL], "hourly");
    assert_eq!(world.scheduler.inspect("hourly").await.unwrap().last, Some(time("2026-01-01T12:00:00Z")));
}

#[tokio::test]
async fn clock_that_is_set_back_repeats_no_time() {
    let mut world = World::new();
    world.put("hourly", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-02T11:00:00Z").await;
    for back in ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "2026-01-02T10:59:59Z", "2026-01-02T11:00:00Z"] {
        assert_eq!(world.fire_at(back).await.as_deref(), Some("2026-01-02T12:00:00Z"));
        // Neither do these start again from the time of the clock.
        world.put("hourly", json!({"cron": "@hourly", "overlap": "queue"})).await;
        world.scheduler.pause("hourly").await.unwrap();
        world.scheduler.resume("hourly").await.unwrap();
        world.restart();
    }
    assert_eq!(world.fired().await, ["2026-01-02T11:00:00Z"]);
    world.fire_at("2026-01-02T12:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-02T11:00:00Z", "2026-01-02T12:00:00Z"]);
}

#[tokio::test]
async fn times_that_passed_during_a_downtime_count_as_catch_up_says() {
    let mut world = World::new();
    for catch_up in ["none", "last", "all"] {
        world.put(catch_up, json!({"cron": "@hourly", "catch_up": catch_up, "job": {"handler": catch_up}})).await;
    }
    world.restart();
    assert_eq!(world.fire_at("2026-01-01T13:30:00Z").await.as_deref(), Some("2026-01-01T14:00:00Z"));
    let jobs = world.jobs().await.into_iter().zip(world.fired().await);
    let mut jobs: Vec<_> = jobs.map(|(job, time)| format!("{} {}", job.handler, &time[11..16])).collect();
    jobs.sort();
    assert_eq!(jobs, ["all 11:00", "all 12:00", "all 13:00", "last 13:00"]);
    let last: Vec<_> = world.scheduler.list().await.unwrap().into_iter().map(|status| status.last).collect();
    let thirteen = Some(time("2026-01-01T13:00:00Z"));
    assert_eq!(last, [thirteen, thirteen, None], "of all, last and none");
}

#[tokio::test]
async fn single_time_fires_once_and_never_again() {
    let mut world = World::new();
    world.put("once", json!({"at": "2026-01-01T11:15:00Z"})).await;
    assert_eq!(world.fire_at("2026-01-01T11:15:00Z").await, None);
    world.restart();
    assert_eq!(world.fire_at("2026-01-01T12:00:00Z").await, None);
    assert_eq!(world.fired().await, ["2026-01-01T11:15:00Z"]);
    let status = world.scheduler.inspect("once").await.unwrap();
    assert_eq!((status.upcoming.len(), status.last), (0, Some(time("2026-01-01T11:15:00Z"))));
    // The same definition may be sent again, and does not fire again.
    world.put("once", json!({"at": "2026-01-01T11:15:00Z"})).await;
    assert_eq!(world.fire_at("2026-01-01T12:00:00Z").await, None);
    assert_eq!(world.fired().await.len(), 1);
}

#[tokio::test]
async fn jitter_delays_jobs_and_not_the_schedule() {
    let world = World::new();
    world.put("hourly", json!({"cron": "@hourly", "jitter": "10m"})).await;
    for hour in ["11", "12", "13"] {
        world.fire_at(&format!("2026-01-01T{hour}:00:00Z")).await;
    }
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"]);
    for job in world.jobs().await {
        let delay = job.not_before.unwrap().duration_since(job.submitted);
        assert!((0..=600).contains(&delay.as_secs()), "{delay}");
    }
}

#[tokio::test]
async fn many_schedules_fire_at_the_same_time() {
    let world = World::new();
    for number in 0..300 {
        world.put(&format!("daily-{number}"), json!({"cron": "@daily"})).await;
    }
    assert_eq!(world.fire_at("2026-01-02T00:00:00Z").await.as_deref(), Some("2026-01-03T00:00:00Z"));
    assert_eq!(world.jobs().await.len(), 300);
}

#[tokio::test]
async fn full_queue_loses_the_job_and_not_the_schedule() {
    let world = World::with_limits(StoreLimits::default(), 1);
    world.put("hourly", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z"]);
    assert!(matches!(world.scheduler.run_now("hourly", None).await.unwrap_err(), SchedulerError::Refused(_)));
    for claimed in world.claim().await {
        world.finish(&claimed).await;
    }
    world.fire_at("2026-01-01T13:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z", "2026-01-01T13:00:00Z"]);
}

#[tokio::test]
async fn schedule_that_cannot_be_read_is_listed_and_stops_no_other() {
    let world = World::new();
    let foreign = ScheduleRecord {
        name: "foreign".into(),
        definition: json!({"lunar": "full moon"}),
        is_paused: false,
        next: Some(time("2026-01-01T11:00:00Z")),
        last: None,
        owner: None,
    };
    world.store.put_schedule(foreign).await.unwrap();
    world.put("hourly", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    assert_eq!(world.jobs().await.len(), 1);
    let status = world.scheduler.inspect("foreign").await.unwrap();
    assert!(status.error.unwrap().to_string().contains("lunar") && status.upcoming.is_empty());
    assert!(matches!(world.scheduler.run_now("foreign", None).await.unwrap_err(), SchedulerError::Invalid(_)));
    world.put("foreign", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-01T12:00:00Z").await;
    assert_eq!(world.jobs().await.len(), 3);
}

#[tokio::test]
async fn schedule_that_was_changed_in_the_store_is_read_again() {
    let world = World::new();
    world.put("hourly", json!({"cron": "@hourly"})).await;
    let mut record = world.store.schedules().await.unwrap().remove(0);
    record.next = Some(time("2026-01-01T10:45:00Z"));
    record.definition = definition(json!({"cron": "45 * * * *"})).to_json();
    world.store.put_schedule(record).await.unwrap();
    world.fire_at("2026-01-01T11:00:00Z").await;
    assert!(world.jobs().await.is_empty(), "the store has another next time");
    world.fire_at("2026-01-01T11:00:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T10:45:00Z"]);
}
