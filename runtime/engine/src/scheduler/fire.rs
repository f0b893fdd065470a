//! Submits the jobs of the schedules whose times have come.

use capstan_core::outcome::CancelledBy;
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;

use super::entries::Entry;
use super::{Scheduler, SchedulerError};
use crate::job::JobId;
use crate::job_store::{
    After, AfterMode, ChangeError, Dependency, Firing, JobFilter, JobStoreError, Now, Requirement, ScheduleRecord,
    State,
};
use crate::schedule::{Overlap, SCHEDULE_LABEL, Schedule};

/// Schedules that are fired at the same time. The store commits their jobs together.
const CONCURRENT: usize = 64;

/// The jobs that a new one waits for, the last ones. Each of them waits for earlier ones.
const MAX_WAITED_FOR: usize = 100;

/// Unfinished jobs of one schedule that are looked for.
const MAX_UNFINISHED: usize = 1000;

impl Scheduler {
    /// Fires the schedules that are due. Returns the next time of any of them.
    pub(super) async fn fire_due(&self) -> Result<Option<Timestamp>, SchedulerError> {
        let mut locked = self.lock().await?;
        let now = self.now();
        let due = locked.entries.values_mut().filter(|entry| entry.due(now.wall).is_some());
        let firings: Vec<_> = due.map(|entry| self.fire_entry(entry, now)).collect();
        let fired: Vec<_> = stream::iter(firings).buffer_unordered(CONCURRENT).collect().await;
        let is_known = fired.into_iter().try_fold(true, |is_known, fired| Ok(is_known & fired?));
        let is_known = self.queue.note::<bool>(is_known)?;
        let next = locked.entries.values().filter_map(Entry::next).min();
        if is_known {
            locked.keep();
        }
        Ok(next)
    }

    /// Fires a schedule for each of its times that counts. Returns whether the store has what `entry` says.
    async fn fire_entry(&self, entry: &mut Entry, now: Now) -> Result<bool, JobStoreError> {
        let Some((schedule, due)) = entry.due(now.wall) else { return Ok(true) };
        let times = schedule.due_times(due, now.wall);
        let after = schedule.next_after(now.wall);
        let first = times.first().copied().or(after);
        if first != Some(due) {
            self.set_next(entry, first).await?;
        }
        for (index, time) in times.iter().enumerate() {
            let next = times.get(index + 1).copied().or(after);
            if !self.fire_time(entry, &schedule, (*time, next), now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fires a schedule for its next time, `time`. Returns whether the store has what `entry` says.
    async fn fire_time(
        &self,
        entry: &mut Entry,
        schedule: &Schedule,
        (time, next): (Timestamp, Option<Timestamp>),
        now: Now,
    ) -> Result<bool, JobStoreError> {
        let (overlap, name) = (schedule.definition().overlap, entry.record.name.clone());
        let unfinished = match overlap {
            Overlap::Allow => Vec::new(),
            Overlap::Skip | Overlap::Queue | Overlap::Replace => self.unfinished(entry).await?,
        };
        match overlap {
            Overlap::Skip if let Some(job) = unfinished.first() => {
                tracing::info!(schedule = name, %time, "skipped, because job {job} has not ended");
                self.set_next(entry, next).await?;
                return Ok(true);
            }
            Overlap::Replace => self.cancel_all(&unfinished).await?,
            Overlap::Allow | Overlap::Skip | Overlap::Queue => {}
        }
        let mut job = self.new_job(schedule, &name, time, None);
        job.not_before = schedule.not_before(time, now.wall, rand::random());
        job.after = after_end_of(&unfinished);
        match self.store().fire(now, &name, time, next, vec![job]).await? {
            Firing::Fired(jobs) if jobs.is_empty() => {
                tracing::warn!(schedule = name, %time, "its job was refused; the queue of the handler may be full");
            }
            Firing::Fired(jobs) => {
                tracing::debug!(schedule = name, %time, "submitted job {}", jobs[0]);
                // Those that are not looked at are not kept either.
                entry.unfinished = (overlap != Overlap::Allow).then(|| [unfinished, jobs].concat());
            }
            Firing::Passed => return Ok(false),
        }
        entry.record.last = Some(time);
        entry.record.next = next;
        Ok(true)
    }

    /// Sets the next time of a schedule without firing it.
    async fn set_next(&self, entry: &mut Entry, next: Option<Timestamp>) -> Result<(), JobStoreError> {
        let record = ScheduleRecord { next, ..entry.record.clone() };
        self.store().put_schedule(record.clone()).await?;
        entry.record = record;
        Ok(())
    }

    /// Returns the jobs of a schedule that have not ended, the last one last.
    async fn unfinished(&self, entry: &mut Entry) -> Result<Vec<JobId>, JobStoreError> {
        let unfinished = match entry.unfinished.take() {
            Some(known) => {
                let mut unfinished = Vec::new();
                for job in known {
                    if self.store().job(job).await?.is_some_and(|details| !details.job.state.has_ended()) {
                        unfinished.push(job);
                    }
                }
                unfinished
            }
            None => {
                let filter = JobFilter {
                    labels: [(SCHEDULE_LABEL.to_owned(), entry.record.name.clone())].into(),
                    states: State::ALL.into_iter().filter(|state| !state.has_ended()).collect(),
                    ..JobFilter::default()
                };
                let page = self.store().query(filter, None, MAX_UNFINISHED).await?;
                page.jobs.iter().rev().map(|details| details.job.id).collect()
            }
        };
        entry.unfinished = Some(unfinished.clone());
        Ok(unfinished)
    }

    /// Cancels jobs. Some may have ended meanwhile.
    async fn cancel_all(&self, jobs: &[JobId]) -> Result<(), JobStoreError> {
        for job in jobs {
            match self.queue.cancel(*job, CancelledBy::Schedule).await {
                Ok(_) | Err(ChangeError::Unknown(_) | ChangeError::Ended(_) | ChangeError::NotEnded(_)) => {}
                Err(ChangeError::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the dependencies of a job that runs once `jobs` have ended in any way.
fn after_end_of(jobs: &[JobId]) -> After {
    let last = jobs.iter().rev().take(MAX_WAITED_FOR);
    After { jobs: last.map(|job| Dependency { job: *job, on: Requirement::End }).collect(), mode: AfterMode::All }
}
