//! [`Scheduler`]: keeps schedules in the store of a [`Queue`] and submits their jobs when their times come.
//!
//! - Each time of a schedule makes its job once: [`JobStore::fire`] submits the job and sets the next time together. A crash in between loses
//!   nothing, and a wall clock that is set back repeats nothing. It waits until the clock is where it was.
//! - It sleeps until the next time, and looks at the wall clock every [`CLOCK_CHECK`], because a clock may jump.
//! - All changes of schedules go through one scheduler, which has them in memory. After a failure of the store, and after a call that was
//!   dropped, it reads them again.

mod clock;
mod entries;
mod error;
mod fire;
mod limits;
mod manifest;
mod status;

use std::sync::Arc;
use std::time::Duration;

use capstan_core::caller::Caller;
use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};

pub use self::clock::Clock;
use self::entries::{Entries, Entry, Locked};
pub use self::error::SchedulerError;
pub use self::limits::{MAX_DEFINITIONS, MAX_SCHEDULES};
pub use self::manifest::ManifestChange;
pub use self::status::{PutSchedule, ScheduleStatus, UPCOMING};
use crate::job_store::{JobStore, NewJob, Now, ScheduleRecord, StoreLimits, Submitted};
use crate::queue::Queue;
use crate::schedule::{Schedule, ScheduleDefinition, ScheduleError, check_name};

/// How often the scheduler looks at the wall clock at least, if any schedule has a next time.
pub const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// Keeps schedules and submits their jobs.
#[derive(Debug)]
pub struct Scheduler {
    queue: Queue,
    /// What the store takes at most. A schedule whose jobs it would refuse is refused.
    limits: StoreLimits,
    clock: Clock,
    entries: Mutex<Option<Entries>>,
    changed: Notify,
}

impl Scheduler {
    /// Returns a scheduler that submits jobs to `queue`, whose store has these `limits`. It does once [`Scheduler::start`] is called.
    pub fn new(queue: Queue, limits: StoreLimits) -> Self {
        Self { queue, limits, clock: Clock::default(), entries: Mutex::new(None), changed: Notify::new() }
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Starts to submit the jobs of the schedules, until the engine has shut down.
    pub fn start(self: &Arc<Self>) {
        let scheduler = self.clone();
        self.queue.engine().spawn(async move {
            tokio::select! {
                () = scheduler.queue.engine().wait_until_drained() => {}
                () = scheduler.run() => {}
            }
        });
    }

    /// Submits the jobs of the schedules. A failure of the store is logged, and tried again after [`CLOCK_CHECK`].
    ///
    /// Never returns. Cancel-safe: what was not submitted is submitted later.
    pub async fn run(&self) {
        loop {
            let wait = match self.fire_due().await {
                Ok(next) => next.map(|next| self.until(next)),
                Err(error) => {
                    tracing::error!("cannot submit the jobs of schedules: {error}");
                    Some(CLOCK_CHECK)
                }
            };
            let time_is_up = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = time_is_up => {}
            }
        }
    }

    /// Creates the schedule `name`, or gives it another definition.
    ///
    /// A schedule that exists keeps its last time, and stays paused if it is. Its next time is computed again. A time that has come already, but
    /// has not been fired for, is kept if the new definition has the same times.
    ///
    /// # Errors
    /// - [`SchedulerError::Invalid`] for a malformed name or definition, and for one that never fires again
    /// - [`SchedulerError::Refused`] if the store would refuse its jobs
    /// - [`SchedulerError::TooMany`] if there is no room for it
    /// - [`SchedulerError::Conflict`] if it comes from a manifest
    /// - [`SchedulerError::Store`]
    pub async fn put(&self, name: &str, definition: ScheduleDefinition) -> Result<PutSchedule, SchedulerError> {
        let schedule = Arc::new(self.check(name, definition)?);
        let mut locked = self.lock().await?;
        let entry = match new_entry(&locked.entries, name, schedule, None, self.now().wall) {
            Ok(entry) => entry,
            Err(error) => {
                locked.keep();
                return Err(error);
            }
        };
        self.queue.note(self.store().put_schedule(entry.record.clone()).await)?;
        let status = ScheduleStatus::of(&entry);
        let is_new = locked.entries.insert(name.to_owned(), entry).is_none();
        locked.keep();
        self.changed.notify_one();
        Ok(PutSchedule { status, is_new })
    }

    /// Removes a schedule. Its jobs stay.
    ///
    /// # Errors
    /// [`SchedulerError::Unknown`], [`SchedulerError::Store`]; [`SchedulerError::Conflict`] if it comes from a manifest
    pub async fn remove(&self, name: &str) -> Result<(), SchedulerError> {
        let mut locked = self.lock().await?;
        let refused = match locked.entries.get(name) {
            None => Some(SchedulerError::unknown(name)),
            Some(entry) if entry.record.owner.is_some() => Some(SchedulerError::conflict(&entry.record)),
            Some(_) => None,
        };
        if let Some(error) = refused {
            locked.keep();
            return Err(error);
        }
        self.queue.note(self.store().remove_schedule(name).await)?;
        locked.entries.remove(name);
        locked.keep();
        self.changed.notify_one();
        Ok(())
    }

    /// Pauses a schedule. Times that pass while it is paused are not made up for.
    ///
    /// # Errors
    /// [`SchedulerError::Unknown`], [`SchedulerError::Store`]
    pub async fn pause(&self, name: &str) -> Result<ScheduleStatus, SchedulerError> {
        self.change(name, |entry, _| ScheduleRecord { is_paused: true, next: None, ..entry.record.clone() }).await
    }

    /// Resumes a paused schedule: it fires at its first time from now on. Does nothing if it is not paused.
    ///
    /// # Errors
    /// [`SchedulerError::Unknown`], [`SchedulerError::Store`]
    pub async fn resume(&self, name: &str) -> Result<ScheduleStatus, SchedulerError> {
        let resume = |entry: &Entry, now: Timestamp| {
            let first = || first_time(entry.schedule.as_ref().ok()?, entry.record.last, now);
            let next = if entry.record.is_paused { first() } else { entry.record.next };
            ScheduleRecord { is_paused: false, next, ..entry.record.clone() }
        };
        self.change(name, resume).await
    }

    /// Submits a job of a schedule now, as `caller` requests, whatever its times are, whether it is paused, and whether other jobs of it have not ended.
    ///
    /// # Errors
    /// - [`SchedulerError::Unknown`]
    /// - [`SchedulerError::Invalid`] if its definition cannot be read
    /// - [`SchedulerError::Refused`] if the store refuses the job
    /// - [`SchedulerError::Store`]
    pub async fn run_now(&self, name: &str, caller: Option<Caller>) -> Result<Submitted, SchedulerError> {
        let mut locked = self.lock().await?;
        let now = self.now();
        let job = match locked.entries.get(name).map(|entry| entry.schedule.as_ref()) {
            Some(Ok(schedule)) => self.new_job(schedule, name, now.wall, caller),
            Some(Err(error)) => {
                let error = error.clone().into();
                locked.keep();
                return Err(error);
            }
            None => {
                locked.keep();
                return Err(SchedulerError::unknown(name));
            }
        };
        let submitted = self
            .queue
            .note(self.store().submit(now, vec![job]).await)?
            .pop()
            .expect("the store has a result for each job");
        if let (Ok(new), Some(entry)) = (&submitted, locked.entries.get_mut(name)) {
            entry.unfinished.iter_mut().for_each(|jobs| jobs.push(new.job));
        }
        locked.keep();
        submitted.map_err(SchedulerError::Refused)
    }

    /// Returns all schedules by name, each with its next times.
    ///
    /// # Errors
    /// [`SchedulerError::Store`]
    pub async fn list(&self) -> Result<Vec<ScheduleStatus>, SchedulerError> {
        let locked = self.lock().await?;
        let all = locked.entries.values().map(ScheduleStatus::of).collect();
        locked.keep();
        Ok(all)
    }

    /// Returns a schedule with its next times.
    ///
    /// # Errors
    /// [`SchedulerError::Unknown`], [`SchedulerError::Store`]
    pub async fn inspect(&self, name: &str) -> Result<ScheduleStatus, SchedulerError> {
        let locked = self.lock().await?;
        let status = locked.entries.get(name).map(ScheduleStatus::of);
        locked.keep();
        status.ok_or_else(|| SchedulerError::unknown(name))
    }

    /// Replaces the record of a schedule.
    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&Entry, Timestamp) -> ScheduleRecord,
    ) -> Result<ScheduleStatus, SchedulerError> {
        let mut locked = self.lock().await?;
        let Some(entry) = locked.entries.get_mut(name) else {
            locked.keep();
            return Err(SchedulerError::unknown(name));
        };
        let record = change(entry, self.now().wall);
        self.queue.note(self.store().put_schedule(record.clone()).await)?;
        entry.record = record;
        let status = ScheduleStatus::of(entry);
        locked.keep();
        self.changed.notify_one();
        Ok(status)
    }

    /// Checks a name and a definition by themselves.
    fn check(&self, name: &str, definition: ScheduleDefinition) -> Result<Schedule, SchedulerError> {
        check_name(name)?;
        let schedule = Schedule::new(definition)?;
        let job = self.new_job(&schedule, name, self.now().wall, None);
        self.limits.check(&job).map_err(SchedulerError::Refused)?;
        Ok(schedule)
    }

    /// Takes the schedules, and reads them from the store first if they are not in memory.
    async fn lock(&self) -> Result<Locked<'_>, SchedulerError> {
        Ok(Locked::new(self.entries.lock().await, self.store()).await?)
    }

    /// Returns the job of a schedule for the time `at`, as its handler is now. A handler that does not exist is no error: the job says so.
    fn new_job(&self, schedule: &Schedule, name: &str, at: Timestamp, caller: Option<Caller>) -> NewJob {
        let mut job = schedule.new_job(self.queue.new_id(), name, at);
        job.queue_limit = Some(self.queue.config().length);
        job.plan.caller = caller;
        if let Ok(resolved) = self.queue.engine().resolve(job.handler.as_str()) {
            job.plan.digest.clone_from(&resolved.info().digest);
            if schedule.definition().job.retry.is_none() {
                job.plan.retry = resolved.handler().retry().cloned().unwrap_or_default();
            }
        }
        job
    }

    fn store(&self) -> &dyn JobStore {
        &**self.queue.store()
    }

    /// Returns how long to sleep for `next`.
    fn until(&self, next: Timestamp) -> Duration {
        let wait = next.duration_since(self.now().wall);
        Duration::try_from(wait).unwrap_or(Duration::ZERO).min(CLOCK_CHECK)
    }

    fn now(&self) -> Now {
        self.clock.now()
    }
}

/// Returns the entry that gives the schedule `name` another definition, or creates it. `owner` is the handler whose manifest it comes from.
fn new_entry(
    entries: &Entries,
    name: &str,
    schedule: Arc<Schedule>,
    owner: Option<String>,
    now: Timestamp,
) -> Result<Entry, SchedulerError> {
    let old = entries.get(name);
    if let Some(old) = old.filter(|old| old.record.owner != owner) {
        return Err(SchedulerError::conflict(&old.record));
    }
    let (last, is_paused) = old.map_or((None, false), |old| (old.record.last, old.record.is_paused));
    let next = old.and_then(|old| old.pending(&schedule, now)).or(first_time(&schedule, last, now));
    if next.is_none() && !old.is_some_and(|old| old.has_definition(&schedule)) {
        return Err(ScheduleError::Past.into());
    }
    let record = ScheduleRecord {
        name: name.to_owned(),
        definition: schedule.definition().to_json(),
        is_paused,
        next: next.filter(|_| !is_paused),
        last,
        owner,
    };
    check_room(entries, &record)?;
    Ok(Entry::new(record, Ok(schedule)))
}

/// Checks that there is room for `new`, which may replace a schedule.
fn check_room(entries: &Entries, new: &ScheduleRecord) -> Result<(), SchedulerError> {
    let others = || entries.values().filter(|entry| entry.record.name != new.name);
    let size = others().map(|entry| entry.size).sum::<usize>() + entries::size(new);
    let has_room = others().count() < MAX_SCHEDULES && size <= MAX_DEFINITIONS;
    if has_room { Ok(()) } else { Err(SchedulerError::TooMany) }
}

/// Returns the first time of `schedule` after `now`, and after its last one in case the clock was set back.
fn first_time(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    schedule.next_after(last.map_or(now, |last| last.max(now)))
}

#[cfg(test)]
mod tests;
