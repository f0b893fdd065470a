//! The loop, with virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use serde_json::json;
use tokio::task::JoinHandle;

use super::super::*;
use super::world::{World, definition, new_queue};
use crate::tasks::Tasks;

/// Starts the loop. The clock of `world` does not move by itself.
fn run(scheduler: &Arc<Scheduler>) -> JoinHandle<()> {
    let scheduler = scheduler.clone();
    Tasks::default().spawn("test", "scheduler", async move { scheduler.run().await })
}

/// Lets `seconds` pass for both the clock and the timers.
async fn pass(world: &World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(SignedDuration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn loop_submits_jobs_when_their_times_come() {
    let world = World::new();
    let running = run(&world.scheduler);
    pass(&world, 100).await;
    // A new schedule wakes the loop, which had nothing to wait for.
    world.put("often", json!({"every": "10s"})).await;
    world.put("hourly", json!({"cron": "@hourly"})).await;
    pass(&world, 60).await;
    assert_eq!(world.jobs().await.len(), 6);
    world.scheduler.remove("often").await.unwrap();
    pass(&world, 1800).await;
    assert_eq!(world.jobs().await.len(), 7);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn resumed_schedule_wakes_the_loop() {
    let world = World::new();
    world.put("often", json!({"every": "2s"})).await;
    world.scheduler.pause("often").await.unwrap();
    let running = run(&world.scheduler);
    pass(&world, 60).await;
    assert!(world.jobs().await.is_empty());
    world.scheduler.resume("often").await.unwrap();
    pass(&world, 4).await;
    assert_eq!(world.jobs().await.len(), 2);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn clock_that_jumps_is_noticed() {
    let world = World::new();
    world.put("daily", json!({"cron": "@daily"})).await;
    let running = run(&world.scheduler);
    pass(&world, 1).await;
    world.set("2026-01-02T06:00:00Z");
    tokio::time::sleep(CLOCK_CHECK + Duration::from_secs(1)).await;
    assert_eq!(world.fired().await, ["2026-01-02T00:00:00Z"]);
    // Set back by a day, it waits for the first time that has not come yet.
    world.set("2026-01-01T06:00:00Z");
    pass(&world, 19 * 3600).await;
    assert_eq!(world.jobs().await.len(), 1);
    world.set("2026-01-03T00:00:00Z");
    tokio::time::sleep(CLOCK_CHECK + Duration::from_secs(1)).await;
    assert_eq!(world.fired().await, ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn loop_sleeps_until_the_next_time() {
    let world = World::new();
    let reads = Arc::new(AtomicUsize::new(0));
    let (counted, now) = (reads.clone(), world.now());
    let clock = Clock::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        now
    });
    let queue = new_queue(world.store.clone(), 100);
    let scheduler = Arc::new(Scheduler::new(queue, StoreLimits::default()).with_clock(clock));
    scheduler.put("daily", definition(json!({"cron": "@daily"}))).await.unwrap();
    let running = run(&scheduler);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    // It reads the clock twice each time that it wakes.
    let wakings = reads.load(Ordering::Relaxed) / 2;
    assert!((715..=725).contains(&wakings), "woke {wakings} times in an hour");
    scheduler.remove("daily").await.unwrap();
    let before = reads.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(reads.load(Ordering::Relaxed) <= before + 2, "it woke without a schedule");
    running.abort();
}
