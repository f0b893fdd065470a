//! Schedules that come from the manifest of a handler, and go with it.
//!
//! The manifest is the truth. A push first stores the schedules that are new or different, then the manifest, and then removes those that the
//! manifest has no more. [`Scheduler::reconcile`] repairs at the next start what a crash in between has left: nothing that was paused is removed
//! before the manifest says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entries::{Entry, Locked};
use super::error::SchedulerError;
use super::{Scheduler, new_entry};
use crate::handler::HandlerName;
use crate::job_store::{JobStoreError, ScheduleRecord};
use crate::schedule::{ManifestSchedules, ScheduleDefinition, ScheduleError};

/// A change of the schedules of a handler. What is new or different is stored. Nothing fires until it is [finished](Self::finish) or
/// [undone](Self::undo). If it is dropped, the next start finds out which of both is right.
#[derive(Debug)]
#[must_use]
pub struct ManifestChange<'a> {
    scheduler: &'a Scheduler,
    locked: Locked<'a>,
    /// The schedules that were stored, each with the record that it had before.
    stored: Vec<(String, Option<ScheduleRecord>)>,
    /// The schedules that the manifest has no more.
    removed: Vec<String>,
}

impl Scheduler {
    /// Stores the schedules that the manifest of `handler` will have and does not have yet.
    ///
    /// A schedule that does not change keeps its times. One that is paused stays paused.
    ///
    /// # Errors
    /// [`SchedulerError`], and nothing has changed. [`SchedulerError::Conflict`] if a schedule does not come from this manifest.
    pub async fn change_manifest(
        &self,
        handler: &HandlerName,
        schedules: ManifestSchedules,
    ) -> Result<ManifestChange<'_>, SchedulerError> {
        let locked = self.lock().await?;
        let removed = names_of(&locked, handler).filter(|name| !schedules.contains_key(*name)).cloned().collect();
        let mut entries = Vec::new();
        for (name, definition) in schedules {
            match self.manifest_entry(&locked, handler, &name, definition) {
                Ok(None) => {}
                Ok(Some(entry)) => entries.push(entry),
                Err(error) => {
                    locked.keep();
                    return Err(error);
                }
            }
        }
        let mut change = ManifestChange { scheduler: self, locked, stored: Vec::new(), removed };
        for entry in entries {
            if let Err(error) = change.store(entry).await {
                change.undo().await;
                return Err(error.into());
            }
        }
        Ok(change)
    }

    /// Brings the schedules in line with the manifests of all handlers, after the start. Those of handlers in `unreadable` stay as they are.
    ///
    /// A schedule that cannot be installed is logged.
    ///
    /// # Errors
    /// [`SchedulerError::Store`]
    pub async fn reconcile(
        &self,
        manifests: BTreeMap<HandlerName, ManifestSchedules>,
        unreadable: &BTreeSet<String>,
    ) -> Result<(), SchedulerError> {
        let locked = self.lock().await?;
        let is_gone = |entry: &Entry| {
            let Some(owner) = &entry.record.owner else { return false };
            let manifest = manifests.get(owner.as_str());
            !unreadable.contains(owner) && manifest.is_none_or(|manifest| !manifest.contains_key(&entry.record.name))
        };
        let removed = locked.entries.values().filter(|entry| is_gone(entry)).map(|entry| entry.record.name.clone());
        let removed = removed.collect();
        let mut change = ManifestChange { scheduler: self, locked, stored: Vec::new(), removed };
        for (handler, schedules) in manifests {
            for (name, definition) in schedules {
                match self.manifest_entry(&change.locked, &handler, &name, definition) {
                    Ok(None) => {}
                    Ok(Some(entry)) => {
                        tracing::info!(schedule = name, %handler, "installed a schedule, because the manifest has it");
                        change.store(entry).await?;
                    }
                    // It was for one time, which has passed.
                    Err(SchedulerError::Invalid(ScheduleError::Past)) => {}
                    Err(error) => tracing::warn!(schedule = name, %handler, "cannot install a schedule: {error}"),
                }
            }
        }
        change.finish().await
    }

    /// Returns the entry of a schedule of a manifest, or `None` if it exists already.
    fn manifest_entry(
        &self,
        locked: &Locked<'_>,
        handler: &HandlerName,
        name: &str,
        definition: ScheduleDefinition,
    ) -> Result<Option<Entry>, SchedulerError> {
        let is_same = |entry: &&Entry| {
            let has_definition = || entry.schedule.as_ref().is_ok_and(|own| *own.definition() == definition);
            entry.record.owner.as_deref() == Some(handler.as_str()) && has_definition()
        };
        if locked.entries.get(name).as_ref().is_some_and(is_same) {
            return Ok(None);
        }
        let schedule = Arc::new(self.check(name, definition)?);
        let owner = Some(handler.as_str().to_owned());
        new_entry(&locked.entries, name, schedule, owner, self.now().wall).map(Some)
    }
}

impl ManifestChange<'_> {
    /// Removes the schedules that the manifest has no more, now that the manifest is stored.
    ///
    /// # Errors
    /// [`SchedulerError::Store`]. The next start or push removes them.
    pub async fn finish(mut self) -> Result<(), SchedulerError> {
        for name in std::mem::take(&mut self.removed) {
            self.scheduler.queue.note(self.scheduler.store().remove_schedule(&name).await)?;
            self.locked.entries.remove(&name);
        }
        self.locked.keep();
        self.scheduler.changed.notify_one();
        Ok(())
    }

    /// Undoes what was stored, because the manifest was not. A failure is logged: the next start does it.
    pub async fn undo(mut self) {
        let store = self.scheduler.store();
        for (name, before) in std::mem::take(&mut self.stored) {
            let undone = match before {
                Some(record) => store.put_schedule(record).await,
                None => store.remove_schedule(&name).await.map(drop),
            };
            if let Err(error) = self.scheduler.queue.note(undone) {
                tracing::error!(schedule = name, "cannot undo the change of a schedule until the next start: {error}");
            }
        }
        // Dropped without being kept, so the schedules are read again.
    }

    async fn store(&mut self, entry: Entry) -> Result<(), JobStoreError> {
        let name = entry.record.name.clone();
        let before = self.locked.entries.get(&name).map(|old| old.record.clone());
        // Noted first: a call that fails may have had an effect.
        self.stored.push((name.clone(), before));
        self.scheduler.queue.note(self.scheduler.store().put_schedule(entry.record.clone()).await)?;
        self.locked.entries.insert(name, entry);
        Ok(())
    }
}

/// Returns the names of the schedules that come from the manifest of `handler`.
fn names_of<'a>(locked: &'a Locked<'_>, handler: &'a HandlerName) -> impl Iterator<Item = &'a String> {
    let is_own = |entry: &&Entry| entry.record.owner.as_deref() == Some(handler.as_str());
    locked.entries.values().filter(is_own).map(|entry| &entry.record.name)
}
