//! What people do with schedules.

use serde_json::json;

use super::super::*;
use super::world::{World, definition, time};

#[tokio::test]
async fn status_has_the_next_times() {
    let world = World::new();
    let status = world.put("hourly", json!({"cron": "@hourly"})).await;
    let hours: Vec<_> = status.upcoming.iter().map(|time| time.to_string()[11..16].to_owned()).collect();
    assert_eq!(hours, ["11:00", "12:00", "13:00", "14:00", "15:00"]);
    assert_eq!((status.name.as_str(), status.is_paused, status.last, &status.error), ("hourly", false, None, &None));
    assert_eq!(status.definition["overlap"], "allow");
    world.put("a", json!({"at": "2026-01-01T12:00:00Z"})).await;
    let all = world.scheduler.list().await.unwrap();
    assert_eq!((all[0].upcoming.as_slice(), &all[1]), (&[time("2026-01-01T12:00:00Z")][..], &status));
    assert_eq!(world.scheduler.inspect("hourly").await.unwrap(), status);
}

#[tokio::test]
async fn new_definition_keeps_the_last_time_and_computes_the_next() {
    let world = World::new();
    world.put("report", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    let status = world.put("report", json!({"every": "15m"})).await;
    assert_eq!((status.last, status.upcoming[0]), (Some(time("2026-01-01T11:00:00Z")), time("2026-01-01T11:15:00Z")));
    world.fire_at("2026-01-01T11:15:00Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T11:00:00Z", "2026-01-01T11:15:00Z"]);
}

#[tokio::test]
async fn same_times_sent_again_lose_no_time_that_has_come() {
    let world = World::new();
    world.put("report", json!({"cron": "@hourly"})).await;
    world.set("2026-01-01T11:00:01Z");
    let status = world.put("report", json!({"cron": "@hourly", "overlap": "skip"})).await;
    assert_eq!(status.upcoming[0], time("2026-01-01T11:00:00Z"));
    // Other times start from now on.
    let status = world.put("report", json!({"cron": "*/30 * * * *"})).await;
    assert_eq!(status.upcoming[0], time("2026-01-01T11:30:00Z"));
}

#[tokio::test]
async fn paused_schedule_does_not_fire_and_makes_up_for_nothing() {
    let mut world = World::new();
    world.put("hourly", json!({"cron": "@hourly", "catch_up": "all"})).await;
    let status = world.scheduler.pause("hourly").await.unwrap();
    assert!(status.is_paused && status.upcoming.is_empty());
    assert_eq!(world.fire_at("2026-01-01T12:00:00Z").await, None);
    // It stays paused if it gets another definition, and after a restart.
    let status = world.put("hourly", json!({"cron": "@hourly", "catch_up": "all", "overlap": "skip"})).await;
    assert!(status.is_paused && status.upcoming.is_empty());
    world.restart();
    assert_eq!(world.fire_at("2026-01-01T13:30:00Z").await, None);
    let status = world.scheduler.resume("hourly").await.unwrap();
    assert_eq!((status.is_paused, status.upcoming[0]), (false, time("2026-01-01T14:00:00Z")));
    assert_eq!(world.fire_at("2026-01-01T13:59:00Z").await.as_deref(), Some("2026-01-01T14:00:00Z"));
    assert!(world.jobs().await.is_empty());
    // A resume of what is not paused changes nothing.
    world.set("2026-01-01T14:00:01Z");
    assert_eq!(world.scheduler.resume("hourly").await.unwrap().upcoming[0], time("2026-01-01T14:00:00Z"));
    world.fire_at("2026-01-01T14:00:01Z").await;
    assert_eq!(world.fired().await, ["2026-01-01T14:00:00Z"]);
}

#[tokio::test]
async fn run_now_submits_a_job_whatever_the_times_are() {
    let world = World::new();
    world.put("yearly", json!({"cron": "@yearly", "overlap": "skip"})).await;
    world.scheduler.pause("yearly").await.unwrap();
    let (first, second) = (
        world.scheduler.run_now("yearly", None).await.unwrap(),
        world.scheduler.run_now("yearly", None).await.unwrap(),
    );
    assert_eq!(world.jobs().await.iter().map(|job| job.id).collect::<Vec<_>>(), [first.job, second.job]);
    assert_eq!(world.fired().await[0], super::world::START);
    assert_eq!(world.scheduler.inspect("yearly").await.unwrap().last, None);
    // Its jobs count when the schedule fires.
    world.scheduler.resume("yearly").await.unwrap();
    world.fire_at("2027-01-01T00:00:00Z").await;
    assert_eq!(world.jobs().await.len(), 2);
}

#[tokio::test]
async fn removed_schedule_does_not_fire_and_its_jobs_stay() {
    let world = World::new();
    world.put("hourly", json!({"cron": "@hourly"})).await;
    world.fire_at("2026-01-01T11:00:00Z").await;
    world.scheduler.remove("hourly").await.unwrap();
    assert_eq!(world.fire_at("2026-01-01T12:00:00Z").await, None);
    assert_eq!((world.jobs().await.len(), world.store.schedules().await.unwrap().len()), (1, 0));
    assert_eq!(world.put("hourly", json!({"cron": "@hourly"})).await.last, None);
}

#[tokio::test]
async fn unknown_schedule_is_an_error() {
    let world = World::new();
    let (scheduler, unknown) = (&world.scheduler, SchedulerError::Unknown("none".into()));
    assert_eq!(scheduler.inspect("none").await.unwrap_err(), unknown);
    assert_eq!(scheduler.pause("none").await.unwrap_err(), unknown);
    assert_eq!(scheduler.resume("none").await.unwrap_err(), unknown);
    assert_eq!(scheduler.run_now("none", None).await.unwrap_err(), unknown);
    assert_eq!(scheduler.remove("none").await.unwrap_err(), unknown);
}

#[tokio::test]
async fn invalid_schedule_is_refused_and_changes_nothing() {
    let limits = StoreLimits { plan: 10, ..StoreLimits::default() };
    let world = World::with_limits(limits, 100);
    world.put("good", json!({"cron": "@hourly"})).await;
    let put = async |name: &str, json| world.scheduler.put(name, definition(json)).await.unwrap_err().to_string();
    assert!(put("No", json!({"cron": "@hourly"})).await.starts_with("\"No\" is not a name of a schedule"));
    assert!(put("good", json!({"cron": "* * * *"})).await.starts_with("cron is "));
    assert!(put("good", json!({"at": "2026-01-01T10:30:00Z"})).await.starts_with("at is in the past"));
    let large = json!({"handler": "report", "args": ["more than ten bytes"]});
    assert!(put("good", json!({"cron": "@hourly", "job": large})).await.contains("the limit is 10"));
    let stored = world.store.schedules().await.unwrap();
    assert_eq!((stored.len(), &stored[0].definition["cron"]), (1, &json!("@hourly")));
}

#[tokio::test]
async fn schedules_beyond_the_limits_are_refused() {
    let world = World::new();
    let stdin = "x".repeat(6 << 20);
    let large = json!({"every": "1h", "job": {"handler": "report", "stdin": stdin}});
    for number in 0..10 {
        world.put(&number.to_string(), large.clone()).await;
    }
    let put = async |name: &str, json| world.scheduler.put(name, definition(json)).await;
    assert_eq!(put("more", large.clone()).await.unwrap_err(), SchedulerError::TooMany);
    assert!(!put("0", large).await.unwrap().is_new, "what replaces another needs no room of its own");
    for number in 10..MAX_SCHEDULES {
        world.put(&number.to_string(), json!({"every": "1h"})).await;
    }
    assert_eq!(put("more", json!({"every": "1h"})).await.unwrap_err(), SchedulerError::TooMany);
    world.scheduler.remove("0").await.unwrap();
    assert!(put("more", json!({"every": "1h"})).await.unwrap().is_new);
}
