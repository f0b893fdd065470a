//! [`MemoryJobStore`]: a store that keeps everything in memory, and nothing after its end.

mod attempt_output;
mod output;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use capstan_core::outcome::CancelledBy;
use jiff::Timestamp;

use self::tables::MemoryTables;
use super::claim::{ClaimRequest, Claimed, Finish, FinishedRun, Lease, Now};
use super::error::{AttemptError, ChangeError, JobStoreError, SubmitError};
use super::event_numbers::EventNumbers;
use super::follow_up::FollowUps;
use super::limits::{Retention, StoreLimits};
use super::output::{OutputChunk, OutputPage};
use super::query::{JobDetails, JobFilter, JobPage, QueueStatus};
use super::record::{NewJob, Plan, State, Submitted};
use super::rules::{self, Effects, Leases, Turns};
use super::schedule::{Firing, ScheduleRecord};
use super::store::JobStore;
use super::watch::{Change, Watchers};
use crate::job::JobId;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryJobStore {
    limits: StoreLimits,
    state: Mutex<MemoryState>,
    watchers: Watchers,
    follow_ups: Option<Arc<dyn FollowUps>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    tables: MemoryTables,
    leases: Leases,
    turns: Turns,
    event_numbers: Option<EventNumbers>,
}

impl MemoryJobStore {
    /// Returns an empty store.
    pub fn new(limits: StoreLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Makes `follow_ups` decide which jobs follow the end of a job.
    #[must_use]
    pub fn with_follow_ups(self, follow_ups: Arc<dyn FollowUps>) -> Self {
        Self { follow_ups: Some(follow_ups), ..self }
    }

    /// Makes a change, and then tells those who watch.
    fn change<T>(&self, change: impl FnOnce(&mut MemoryState, &mut Effects) -> T) -> T {
        let mut effects = Effects::followed_by(self.follow_ups.clone());
        let mut state = self.lock();
        let result = change(&mut state, &mut effects);
        rules::submit_follow_ups(&mut state.tables, &mut effects).expect("operations in memory do not fail");
        state.leases.apply(&mut effects);
        drop(state);
        self.watchers.notify(&effects.changes);
        result
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().expect("no panic while the lock is held")
    }
}

#[async_trait]
impl JobStore for MemoryJobStore {
    async fn submit(&self, now: Now, jobs: Vec<NewJob>) -> Result<Vec<Result<Submitted, SubmitError>>, JobStoreError> {
        self.change(|state, effects| rules::submit_all(&mut state.tables, effects, &self.limits, now, &jobs))
    }

    async fn claim(&self, now: Now, request: ClaimRequest) -> Result<Vec<Claimed>, JobStoreError> {
        self.change(|state, effects| rules::claim(&mut state.tables, effects, &mut state.turns, now, &request))
    }

    async fn heartbeat(&self, now: Now, leases: Vec<Lease>, duration: Duration) -> Result<Vec<Lease>, JobStoreError> {
        Ok(self.lock().leases.extend(leases, now.monotonic, duration))
    }

    async fn expire(&self, now: Now) -> Result<Vec<Lease>, JobStoreError> {
        self.change(|state, effects| {
            rules::expire(&mut state.tables, effects, now, state.leases.run_out(now.monotonic))
        })
    }

    async fn finish(&self, now: Now, finish: Finish) -> Result<State, AttemptError> {
        self.change(|state, effects| rules::finish(&mut state.tables, effects, now, finish))
    }

    async fn record_finished(&self, now: Now, runs: Vec<FinishedRun>) -> Result<(), JobStoreError> {
        self.change(|state, effects| {
            runs.iter().try_for_each(|run| rules::record_finished(&mut state.tables, effects, now, run))
        })
    }

    async fn append_output(&self, lease: Lease, chunks: Vec<OutputChunk>) -> Result<u64, AttemptError> {
        self.change(|state, effects| {
            effects.changes.push(Change::without_state(lease.job));
            state.tables.append_output(&self.limits, lease, chunks)
        })
    }

    async fn read_output(&self, lease: Lease, position: u64, limit: u64) -> Result<Option<OutputPage>, JobStoreError> {
        Ok(self.lock().tables.read_output(lease, position, limit))
    }

    async fn output_position(&self, lease: Lease, since: Timestamp) -> Result<Option<u64>, JobStoreError> {
        Ok(self.lock().tables.output_position(lease, since))
    }

    async fn job(&self, job: JobId) -> Result<Option<JobDetails>, JobStoreError> {
        Ok(self.lock().tables.details(job))
    }

    async fn find_by_prefix(&self, prefix: &str) -> Result<Vec<JobId>, JobStoreError> {
        Ok(self.lock().tables.find_by_prefix(prefix))
    }

    async fn query(&self, filter: JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, JobStoreError> {
        Ok(self.lock().tables.query(&filter, before, limit))
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    async fn cancel(&self, now: Now, job: JobId, by: CancelledBy) -> Result<State, ChangeError> {
        self.change(|state, effects| rules::cancel(&mut state.tables, effects, now, job, by))
    }

    async fn requeue(&self, now: Now, job: JobId, plan: Option<Plan>) -> Result<(), ChangeError> {
        self.change(|state, effects| rules::requeue(&mut state.tables, effects, now, job, plan.as_ref()))
    }

    async fn remove(&self, job: JobId) -> Result<(), ChangeError> {
        self.change(|state, effects| rules::remove(&mut state.tables, effects, job))
    }

    async fn set_paused(&self, handler: &str, is_paused: bool) -> Result<(), JobStoreError> {
        self.lock().tables.set_paused(handler, is_paused);
        Ok(())
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, JobStoreError> {
        Ok(self.lock().tables.queues())
    }

    async fn put_schedule(&self, schedule: ScheduleRecord) -> Result<(), JobStoreError> {
        self.lock().tables.schedules.insert(schedule.name.clone(), schedule);
        Ok(())
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, JobStoreError> {
        Ok(self.lock().tables.schedules.values().cloned().collect())
    }

    async fn remove_schedule(&self, name: &str) -> Result<bool, JobStoreError> {
        Ok(self.lock().tables.schedules.remove(name).is_some())
    }

    async fn fire(
        &self,
        now: Now,
        name: &str,
        due: Timestamp,
        next: Option<Timestamp>,
        jobs: Vec<NewJob>,
    ) -> Result<Firing, JobStoreError> {
        self.change(|state, effects| {
            rules::fire(&mut state.tables, effects, &self.limits, now, (name, due, next), &jobs)
        })
    }

    async fn event_numbers(&self) -> Result<Option<EventNumbers>, JobStoreError> {
        Ok(self.lock().event_numbers)
    }

    async fn put_event_numbers(&self, numbers: EventNumbers) -> Result<(), JobStoreError> {
        self.lock().event_numbers = Some(numbers);
        Ok(())
    }

    async fn remove_expired(&self, now: Now, retention: Retention) -> Result<u64, JobStoreError> {
        self.change(|state, effects| rules::remove_expired(&mut state.tables, effects, now, &retention))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, JobStoreError> {
        Ok(self.lock().tables.next_due())
    }
}
