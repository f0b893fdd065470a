//! [`World`]: a scheduler, its store, and a clock that moves only when a test moves it.

use std::sync::{Arc, Mutex};

use capstan_core::outcome::Outcome;
use capstan_core::policy::Ceiling;
use capstan_core::usage::UsageReport;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::*;
use crate::engine::{Config, Engine};
use crate::job_store::{ClaimRequest, Claimed, End, Finish, JobFilter, JobRecord, MemoryJobStore, Now, State, Then};
use crate::queue::QueueConfig;
use crate::schedule::SCHEDULED_AT_LABEL;

/// When the clock starts.
pub(super) const START: &str = "2026-01-01T10:30:00Z";

pub(super) struct World {
    pub(super) store: Arc<MemoryJobStore>,
    pub(super) scheduler: Arc<Scheduler>,
    wall: Arc<Mutex<Timestamp>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_limits(StoreLimits::default(), QueueConfig::default().length)
    }

    pub(super) fn with_limits(limits: StoreLimits, queue_length: u64) -> Self {
        let wall = Arc::new(Mutex::new(time(START)));
        let store = Arc::new(MemoryJobStore::default());
        let scheduler = new_scheduler(&store, &wall, limits, queue_length);
        Self { store, scheduler, wall }
    }

    /// Starts another scheduler with the same store, as after a restart.
    pub(super) fn restart(&mut self) {
        let length = QueueConfig::default().length;
        self.scheduler = new_scheduler(&self.store, &self.wall, StoreLimits::default(), length);
    }

    pub(super) fn now(&self) -> Now {
        read(&self.wall)
    }

    /// Sets the clock.
    pub(super) fn set(&self, text: &str) {
        *self.wall.lock().unwrap() = time(text);
    }

    /// Moves the clock, in either direction.
    pub(super) fn pass(&self, duration: SignedDuration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = wall.checked_add(duration).unwrap();
    }

    /// Sets the clock and fires what is due. Returns the next time of any schedule.
    pub(super) async fn fire_at(&self, text: &str) -> Option<String> {
        self.set(text);
        self.scheduler.fire_due().await.unwrap().map(|next| next.to_string())
    }

    pub(super) async fn put(&self, name: &str, json: Value) -> ScheduleStatus {
        self.scheduler.put(name, definition(json)).await.unwrap().status
    }

    /// Returns all jobs, the first one first.
    pub(super) async fn jobs(&self) -> Vec<JobRecord> {
        let jobs = self.store.query(JobFilter::default(), None, 1000).await.unwrap().jobs;
        let mut jobs: Vec<_> = jobs.into_iter().rev().map(|details| details.job).collect();
        // Ids that two schedulers create within a millisecond are in no order.
        jobs.sort_by_key(|job| job.submitted);
        jobs
    }

    /// Returns the times for which jobs were submitted.
    pub(super) async fn fired(&self) -> Vec<String> {
        self.jobs().await.into_iter().map(|job| job.labels[SCHEDULED_AT_LABEL].clone()).collect()
    }

    pub(super) async fn states(&self) -> Vec<State> {
        self.jobs().await.into_iter().map(|job| job.state).collect()
    }

    /// Starts the queued jobs.
    pub(super) async fn claim(&self) -> Vec<Claimed> {
        self.store.claim(self.now(), ClaimRequest::new("w", 100, Duration::from_secs(1 << 30))).await.unwrap()
    }

    pub(super) async fn finish(&self, claimed: &Claimed) {
        let end = End { outcome: Outcome::Exited { code: 1 }, error: None, at: self.now().wall };
        let finish = Finish { lease: claimed.lease, end, usage: UsageReport::default(), then: Then::Done };
        self.store.finish(self.now(), finish).await.unwrap();
    }
}

/// Returns a definition with the fields `json`, and a job if there is none.
pub(super) fn definition(mut json: Value) -> ScheduleDefinition {
    let fields = json.as_object_mut().unwrap();
    fields.entry("job").or_insert_with(|| json!({"handler": "report"}));
    ScheduleDefinition::from_json(&json).unwrap()
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns a queue of `store` that claims no jobs by itself.
pub(super) fn new_queue(store: Arc<MemoryJobStore>, length: u64) -> Queue {
    let config = Config { ceiling: Ceiling::default(), runs: 1, queue: 1 };
    Queue::new(Engine::new(config), store, QueueConfig { length, ..QueueConfig::default() })
}

fn new_scheduler(
    store: &Arc<MemoryJobStore>,
    wall: &Arc<Mutex<Timestamp>>,
    limits: StoreLimits,
    queue_length: u64,
) -> Arc<Scheduler> {
    let (queue, wall) = (new_queue(store.clone(), queue_length), wall.clone());
    Arc::new(Scheduler::new(queue, limits).with_clock(Clock::new(move || read(&wall))))
}

fn read(wall: &Mutex<Timestamp>) -> Now {
    Now { wall: *wall.lock().unwrap(), ..Now::read() }
}
