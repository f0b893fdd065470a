//! [`MemoryHistory`]: the history in memory.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::record::{Filter, Page, Record};
use super::{HistoryStore, RemoveError};
use crate::budget::ByteBudget;
use crate::job::{DuplicateKey, IdempotencyKey, Job, JobEnd, JobId, JobMap};
use crate::output_log::OutputLog;

/// The number of ended jobs that are stored, by default.
pub const DEFAULT_JOBS: usize = 1000;
/// The bytes of output and arguments that are stored, by default.
pub const DEFAULT_BYTES: usize = 64 << 20;

/// How much a [`MemoryHistory`] stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// The number of ended jobs. Default [`DEFAULT_JOBS`].
    pub jobs: usize,
    /// The bytes of output and arguments of all jobs. Default [`DEFAULT_BYTES`]. If jobs that have not ended need more, each of them keeps
    /// its last 64 KiB.
    pub bytes: usize,
}

/// The history in memory.
///
/// It has limits: of the jobs that have ended, it drops the one that ended first. It never drops a job that has not ended.
#[derive(Debug)]
pub struct MemoryHistory {
    limits: HistoryLimits,
    budget: Arc<ByteBudget>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    /// The number of the job that was started last.
    last: u64,
    by_id: JobMap<Record>,
    keys: HashMap<String, JobId>,
    /// The jobs that have ended, in the order of their ends.
    ended: VecDeque<JobId>,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { jobs: DEFAULT_JOBS, bytes: DEFAULT_BYTES }
    }
}

impl MemoryHistory {
    /// Returns an empty history.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { limits, budget: Arc::new(ByteBudget::new(limits.bytes)), records: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no panic while the lock is held")
    }

    /// Returns whether there are too many jobs that have ended, or they take too much memory.
    fn has_excess(&self, records: &Records) -> bool {
        records.ended.len() > self.limits.jobs || (self.budget.is_exceeded() && !records.ended.is_empty())
    }

    /// Takes out the job that ended first, if there is an excess.
    fn take_excess(&self, records: &mut Records) -> Option<Record> {
        let job = if self.has_excess(records) { records.ended.pop_front()? } else { return None };
        let record = records.take(job)?;
        self.discharge(&record);
        Some(record)
    }

    /// Stops counting `record`. A reader may still hold its log, which then lives as long as the reader.
    fn discharge(&self, record: &Record) {
        self.budget.subtract(record.size);
        if let Some(log) = &record.log {
            log.discharge();
        }
    }
}

impl HistoryStore for MemoryHistory {
    fn new_log(&self) -> OutputLog {
        OutputLog::new(self.budget.clone())
    }

    fn record_start(&self, job: &Job) -> Result<(), DuplicateKey> {
        let mut records = self.lock();
        if let Some(key) = &job.spec().key {
            records.check_key(key)?;
        }
        records.last += 1;
        let record = Record::new(records.last, job);
        self.budget.add(record.size);
        records.insert(record);
        Ok(())
    }

    fn record_end(&self, job: &Job, end: &Arc<JobEnd>) {
        let mut records = self.lock();
        let Some(record) = records.by_id.get_mut(&job.id()) else { return };
        self.budget.add(record.set_ended(job.started(), end.clone()));
        records.ended.push_back(job.id());
        while let Some(excess) = self.take_excess(&mut records) {
            let has_more = self.has_excess(&records);
            // Free the memory of the record without the lock.
            drop(records);
            drop(excess);
            if !has_more {
                return;
            }
            records = self.lock();
        }
    }

    fn find(&self, job: JobId) -> Option<Record> {
        self.lock().by_id.get(&job).cloned()
    }

    fn find_by_prefix(&self, prefix: &str) -> Vec<JobId> {
        let records = self.lock();
        records.by_id.keys().filter(|id| id.to_string().starts_with(prefix)).take(2).copied().collect()
    }

    fn check_key(&self, key: &IdempotencyKey) -> Result<(), DuplicateKey> {
        self.lock().check_key(key)
    }

    fn list(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page {
        let records = self.lock();
        // The records are not in this order, because lists are rare and jobs are many.
        let before = before.unwrap_or(u64::MAX);
        let mut newest_first: Vec<_> = records.by_id.values().filter(|record| record.number() < before).collect();
        newest_first.sort_unstable_by_key(|record| Reverse(record.number()));
        let mut matching = newest_first.into_iter().filter(|record| filter.matches(record));
        let page: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let next = matching.next().and(page.last()).map(Record::number);
        Page { records: page, next }
    }

    fn remove(&self, job: JobId) -> Result<(), RemoveError> {
        let mut records = self.lock();
        if !records.by_id.get(&job).ok_or(RemoveError::Unknown(job))?.has_ended() {
            return Err(RemoveError::NotEnded(job));
        }
        records.ended.retain(|ended| *ended != job);
        let record = records.take(job);
        drop(records);
        if let Some(record) = record {
            self.discharge(&record);
        }
        Ok(())
    }
}

impl Records {
    fn check_key(&self, key: &IdempotencyKey) -> Result<(), DuplicateKey> {
        let other = self.keys.get(&key.text).and_then(|job| self.by_id.get(job));
        let Some(other) = other else { return Ok(()) };
        let is_same_request = other.spec.key.as_ref().is_some_and(|other| other.is_same_request(key));
        Err(DuplicateKey { job: other.spec.id, is_same_request })
    }

    fn insert(&mut self, record: Record) {
        if let Some(key) = &record.spec.key {
            self.keys.insert(key.text.clone(), record.spec.id);
        }
        self.by_id.insert(record.spec.id, record);
    }

    fn take(&mut self, job: JobId) -> Option<Record> {
        let record = self.by_id.remove(&job)?;
        if let Some(key) = &record.spec.key {
            self.keys.remove(&key.text);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
