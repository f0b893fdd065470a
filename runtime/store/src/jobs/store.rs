//! [`JobStore`] for [`SqliteJobStore`].

use std::time::Duration;

use async_trait::async_trait;
use capstan_core::outcome::CancelledBy;
use capstan_engine::job::JobId;
use capstan_engine::job_store::{
    AttemptError, Change, ChangeError, ClaimRequest, Claimed, EventNumbers, Finish, FinishedRun, Firing, JobDetails,
    JobFilter, JobPage, JobStore, JobStoreError, Lease, NewJob, Now, OutputChunk, OutputPage, Plan, QueueStatus,
    Retention, ScheduleRecord, State, SubmitError, Submitted, Tables as _, Watchers, rules,
};
use jiff::Timestamp;

use super::open::SqliteJobStore;
use super::output::{OutputRange, OutputRead};
use super::rows::get;
use super::segment_lock::SegmentLock;
use super::sql::{execute, first};
use super::{event_numbers, output, read};

#[async_trait]
impl JobStore for SqliteJobStore {
    async fn submit(&self, now: Now, jobs: Vec<NewJob>) -> Result<Vec<Result<Submitted, SubmitError>>, JobStoreError> {
        let change = self
            .writer
            .change(move |write| rules::submit_all(&mut write.tables, write.effects, write.limits, now, &jobs));
        change.await
    }

    async fn claim(&self, now: Now, request: ClaimRequest) -> Result<Vec<Claimed>, JobStoreError> {
        let claim =
            self.writer.change(move |write| rules::claim(&mut write.tables, write.effects, write.turns, now, &request));
        claim.await
    }

    async fn heartbeat(&self, now: Now, leases: Vec<Lease>, duration: Duration) -> Result<Vec<Lease>, JobStoreError> {
        self.writer.change(move |write| Ok(write.leases.extend(leases, now.monotonic, duration))).await
    }

    async fn expire(&self, now: Now) -> Result<Vec<Lease>, JobStoreError> {
        let expire = self.writer.change(move |write| {
            let leases = write.leases.run_out(now.monotonic);
            rules::expire(&mut write.tables, write.effects, now, leases)
        });
        expire.await
    }

    async fn finish(&self, now: Now, finish: Finish) -> Result<State, AttemptError> {
        let change =
            self.writer.change(move |write| match rules::finish(&mut write.tables, write.effects, now, finish) {
                Err(AttemptError::Store(error)) => Err(error),
                result => Ok(result),
            });
        change.await?
    }

    async fn record_finished(&self, now: Now, runs: Vec<FinishedRun>) -> Result<(), JobStoreError> {
        let change = self.writer.change(move |write| {
            runs.iter().try_for_each(|run| rules::record_finished(&mut write.tables, write.effects, now, run))
        });
        change.await
    }

    async fn append_output(&self, lease: Lease, chunks: Vec<OutputChunk>) -> Result<u64, AttemptError> {
        let change = self.writer.change(move |write| {
            write.effects.changes.push(Change::without_state(lease.job));
            write.tables.append_output(write.limits, lease, &chunks)
        });
        change.await?
    }

    async fn read_output(&self, lease: Lease, position: u64, limit: u64) -> Result<Option<OutputPage>, JobStoreError> {
        let range = OutputRange { lease, position, limit };
        let segments = self.segments.clone();
        let read = self.readers.read(move |db| output::read_output(db, &segments, range, false));
        if let OutputRead::Page(page) = read.await? {
            return Ok(page);
        }
        let segments = self.segments.clone();
        let read = self.readers.read(move |db| {
            // Before the first read, with which the transaction begins.
            let _lock = SegmentLock::share(&segments)?;
            output::read_output(db, &segments, range, true)
        });
        match read.await? {
            OutputRead::Page(page) => Ok(page),
            OutputRead::Again => {
                Err(JobStoreError::io("read output", "a segment is gone although segments are locked"))
            }
        }
    }

    async fn output_position(&self, lease: Lease, since: Timestamp) -> Result<Option<u64>, JobStoreError> {
        self.readers.read(move |db| output::output_position(db, lease, since)).await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobDetails>, JobStoreError> {
        self.readers.read(move |db| read::details(db, job)).await
    }

    async fn find_by_prefix(&self, prefix: &str) -> Result<Vec<JobId>, JobStoreError> {
        let prefix = prefix.to_owned();
        self.readers.read(move |db| read::find_by_prefix(db, &prefix)).await
    }

    async fn query(&self, filter: JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, JobStoreError> {
        self.readers.read(move |db| read::query(db, &filter, before, limit)).await
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    async fn cancel(&self, now: Now, job: JobId, by: CancelledBy) -> Result<State, ChangeError> {
        let change =
            self.writer.change(move |write| split(rules::cancel(&mut write.tables, write.effects, now, job, by)));
        change.await?
    }

    async fn requeue(&self, now: Now, job: JobId, plan: Option<Plan>) -> Result<(), ChangeError> {
        let change = self
            .writer
            .change(move |write| split(rules::requeue(&mut write.tables, write.effects, now, job, plan.as_ref())));
        change.await?
    }

    async fn remove(&self, job: JobId) -> Result<(), ChangeError> {
        self.writer.change(move |write| split(rules::remove(&mut write.tables, write.effects, job))).await?
    }

    async fn set_paused(&self, handler: &str, is_paused: bool) -> Result<(), JobStoreError> {
        let handler = handler.to_owned();
        let change = self.writer.change(move |write| {
            let sql = match is_paused {
                true => "INSERT OR IGNORE INTO paused (handler) VALUES (?1)",
                false => "DELETE FROM paused WHERE handler = ?1",
            };
            execute(write.tables.db, sql, [&handler])?;
            let paused = &mut write.tables.memory.paused;
            if is_paused {
                paused.insert(handler)
            } else {
                paused.remove(&handler)
            };
            Ok(())
        });
        change.await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, JobStoreError> {
        self.writer.change(|write| read::queues(write.tables.db, write.tables.memory)).await
    }

    async fn put_schedule(&self, schedule: ScheduleRecord) -> Result<(), JobStoreError> {
        self.writer.change(move |write| write.tables.put_schedule(&schedule)).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, JobStoreError> {
        self.readers.read(read::schedules).await
    }

    async fn remove_schedule(&self, name: &str) -> Result<bool, JobStoreError> {
        let name = name.to_owned();
        let change = self.writer.change(move |write| {
            let sql = "DELETE FROM schedules WHERE name = ?1 RETURNING name";
            Ok(first(write.tables.db, sql, [&name], |row| get::<String>(row, 0))?.is_some())
        });
        change.await
    }

    async fn fire(
        &self,
        now: Now,
        name: &str,
        due: Timestamp,
        next: Option<Timestamp>,
        jobs: Vec<NewJob>,
    ) -> Result<Firing, JobStoreError> {
        let name = name.to_owned();
        let change = self.writer.change(move |write| {
            rules::fire(&mut write.tables, write.effects, write.limits, now, (&name, due, next), &jobs)
        });
        change.await
    }

    async fn event_numbers(&self) -> Result<Option<EventNumbers>, JobStoreError> {
        self.readers.read(event_numbers::read).await
    }

    async fn put_event_numbers(&self, numbers: EventNumbers) -> Result<(), JobStoreError> {
        self.writer.change(move |write| event_numbers::write(write.tables.db, numbers)).await
    }

    async fn remove_expired(&self, now: Now, retention: Retention) -> Result<u64, JobStoreError> {
        let change =
            self.writer.change(move |write| rules::remove_expired(&mut write.tables, write.effects, now, &retention));
        change.await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, JobStoreError> {
        self.readers.read(read::next_due).await
    }
}

/// Takes the failures of the store out of `result`: they undo the change.
fn split<T>(result: Result<T, ChangeError>) -> Result<Result<T, ChangeError>, JobStoreError> {
    match result {
        Err(ChangeError::Store(error)) => Err(error),
        result => Ok(result),
    }
}
