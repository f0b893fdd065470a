//! [`Entry`]: a schedule in memory. [`Locked`]: all of them, while somebody uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::MutexGuard;

use crate::job::JobId;
use crate::job_store::{JobStore, JobStoreError, ScheduleRecord};
use crate::schedule::{Schedule, ScheduleDefinition, ScheduleError};

/// The schedules by name.
pub(super) type Entries = BTreeMap<String, Entry>;

/// A schedule in memory.
#[derive(Debug)]
pub(super) struct Entry {
    /// What the store has.
    pub(super) record: ScheduleRecord,
    /// An error if this Capstan cannot read the definition, for example because a newer one wrote it.
    pub(super) schedule: Result<Arc<Schedule>, ScheduleError>,
    /// Jobs of the schedule, all that have not ended among them. `None` if they are not known.
    pub(super) unfinished: Option<Vec<JobId>>,
    /// Bytes of the definition as JSON.
    pub(super) size: usize,
}

/// The schedules while somebody uses them. Unless it is [kept](Self::keep), the next user reads them from the store: a call that failed or was
/// dropped does not know what the store has.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    pub(super) entries: Entries,
    slot: MutexGuard<'a, Option<Entries>>,
}

impl Entry {
    pub(super) fn new(record: ScheduleRecord, schedule: Result<Arc<Schedule>, ScheduleError>) -> Self {
        Self { size: size(&record), record, schedule, unfinished: None }
    }

    fn read(record: ScheduleRecord) -> Self {
        let schedule = ScheduleDefinition::from_json(&record.definition).and_then(Schedule::new).map(Arc::new);
        if let Err(error) = &schedule {
            tracing::error!(schedule = record.name, "cannot read a schedule, which does not fire: {error}");
        }
        Self::new(record, schedule)
    }

    /// Returns the next time if it has come already, and `schedule` has the same times.
    pub(super) fn pending(&self, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        let has_same_times = self.schedule.as_ref().is_ok_and(|own| own.has_times_of(schedule));
        self.record.next.filter(|next| has_same_times && *next <= now)
    }

    /// Returns whether `schedule` has the same definition.
    pub(super) fn has_definition(&self, schedule: &Schedule) -> bool {
        self.schedule.as_ref().is_ok_and(|own| own.definition() == schedule.definition())
    }

    /// Returns the schedule and its next time, if that has come.
    pub(super) fn due(&self, now: Timestamp) -> Option<(Arc<Schedule>, Timestamp)> {
        let next = self.next().filter(|next| *next <= now)?;
        Some((self.schedule.clone().ok()?, next))
    }

    /// Returns the next time, if there is one.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.record.next.filter(|_| self.schedule.is_ok() && !self.record.is_paused)
    }
}

/// Returns the bytes of a definition as JSON.
pub(super) fn size(record: &ScheduleRecord) -> usize {
    record.definition.to_string().len()
}

impl<'a> Locked<'a> {
    /// Takes the schedules out of `slot`, or reads them from `store`.
    pub(super) async fn new(
        mut slot: MutexGuard<'a, Option<Entries>>,
        store: &dyn JobStore,
    ) -> Result<Self, JobStoreError> {
        let entries = match slot.take() {
            Some(entries) => entries,
            None => {
                let records = store.schedules().await?.into_iter();
                records.map(|record| (record.name.clone(), Entry::read(record))).collect()
            }
        };
        Ok(Self { entries, slot })
    }

    /// Leaves the schedules in memory, because they are what the store has.
    pub(super) fn keep(mut self) {
        *self.slot = Some(self.entries);
    }
}
