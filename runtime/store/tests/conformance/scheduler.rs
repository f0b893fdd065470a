//! Schedules of the store on the disk, across restarts.

use std::sync::Arc;
use std::time::Duration;

use capstan_core::policy::Ceiling;
use capstan_engine::engine::{Config, Engine};
use capstan_engine::job_store::{JobFilter, JobStore, Now, StoreLimits};
use capstan_engine::queue::{Queue, QueueConfig};
use capstan_engine::schedule::ScheduleDefinition;
use capstan_engine::scheduler::{Clock, ScheduleStatus, Scheduler};

use crate::work::TempData;

const NAME: &str = "hourly";

/// Returns a scheduler of the store in `data`, as if the daemon was started at `now`.
fn start(data: &TempData, now: Now) -> Scheduler {
    let config = Config { ceiling: Ceiling::default(), runs: 1, queue: 1 };
    // It claims no jobs.
    let queue = Queue::new(Engine::new(config), Arc::new(data.open(now)), QueueConfig::default());
    Scheduler::new(queue, StoreLimits::default()).with_clock(Clock::new(move || now))
}

/// Runs a scheduler until its schedule has another next time. Returns its status then.
async fn run_at(data: &TempData, now: Now) -> ScheduleStatus {
    let scheduler = start(data, now);
    let before = scheduler.inspect(NAME).await.unwrap();
    let fired = async {
        loop {
            let status = scheduler.inspect(NAME).await.unwrap();
            if status.upcoming != before.upcoming {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        status = fired => status,
        () = scheduler.run() => unreachable!("it never returns"),
    }
}

#[tokio::test]
async fn schedule_survives_restarts_and_skips_while_its_job_has_not_ended() {
    let (data, first_start) = (TempData::new(), Now::read());
    let hours = |hours: u64| first_start.after(Duration::from_secs(hours * 3600));
    let definition = serde_json::json!({
        "every": "1h", "overlap": "skip", "job": {"handler": "a", "stdin": "x", "labels": {"team": "b"}},
    });
    let definition = ScheduleDefinition::from_json(&definition).unwrap();
    let put = start(&data, hours(0)).put(NAME, definition).await.unwrap().status;
    let first = run_at(&data, hours(1)).await;
    assert_eq!((first.last, &first.definition), (Some(put.upcoming[0]), &put.definition));
    let second = run_at(&data, hours(2)).await;
    assert_eq!((second.last, second.upcoming[0]), (first.last, first.upcoming[1]), "it was skipped");
    let store = data.open(hours(2));
    let jobs = store.query(JobFilter::default(), None, 10).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].job.handler.as_str(), jobs[0].job.labels["capstan.schedule"].as_str()), ("a", NAME));
    assert_eq!(jobs[0].job.labels["capstan.scheduled_at"], put.upcoming[0].to_string());
}
