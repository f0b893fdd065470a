//! [`MemoryHistory`]: the history in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
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
    by_number: BTreeMap<u64, Record>,
    numbers: JobMap<u64>,
    keys: HashMap<String, u64>,
    /// The numbers of jobs that have ended, in the order of their ends.
    ended: VecDeque<u64>,
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

    /// Takes out the job that ended first, if there are too many jobs or they take too much memory.
    fn take_excess(&self, records: &mut Records) -> Option<Record> {
        let is_exceeded = records.ended.len() > self.limits.jobs || self.budget.is_exceeded();
        let number = if is_exceeded { records.ended.pop_front()? } else { return None };
        let record = records.take(number)?;
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
        let Some(&number) = records.numbers.get(&job.id()) else { return };
        let record = records.by_number.get_mut(&number).expect("both maps have the same jobs");
        self.budget.add(record.set_ended(job.started(), end.clone()));
        records.ended.push_back(number);
        while let Some(excess) = self.take_excess(&mut records) {
            // Free the memory of the record without the lock.
            drop(records);
            drop(excess);
            records = self.lock();
        }
    }

    fn find(&self, job: JobId) -> Option<Record> {
        let records = self.lock();
        records.by_number.get(records.numbers.get(&job)?).cloned()
    }

    fn find_by_prefix(&self, prefix: &str) -> Vec<JobId> {
        let records = self.lock();
        records.numbers.keys().filter(|id| id.to_string().starts_with(prefix)).take(2).copied().collect()
    }

    fn check_key(&self, key: &IdempotencyKey) -> Result<(), DuplicateKey> {
        self.lock().check_key(key)
    }

    fn list(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page {
        let records = self.lock();
        let newest_first = records.by_number.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, record)| record);
        let mut matching = newest_first.filter(|record| filter.matches(record));
        let page: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let next = matching.next().and(page.last()).map(Record::number);
        Page { records: page, next }
    }

    fn remove(&self, job: JobId) -> Result<(), RemoveError> {
        let mut records = self.lock();
        let number = *records.numbers.get(&job).ok_or(RemoveError::Unknown(job))?;
        if !records.by_number.get(&number).is_some_and(Record::has_ended) {
            return Err(RemoveError::NotEnded(job));
        }
        records.ended.retain(|ended| *ended != number);
        let record = records.take(number);
        drop(records);
        if let Some(record) = record {
            self.discharge(&record);
        }
        Ok(())
    }
}

impl Records {
    fn check_key(&self, key: &IdempotencyKey) -> Result<(), DuplicateKey> {
        let other = self.keys.get(&key.text).and_then(|number| self.by_number.get(number));
        let Some(other) = other else { return Ok(()) };
        let is_same_request = other.spec.key.as_ref().is_some_and(|other| other.is_same_request(key));
        Err(DuplicateKey { job: other.spec.id, is_same_request })
    }

    fn insert(&mut self, record: Record) {
        self.numbers.insert(record.spec.id, record.number());
        if let Some(key) = &record.spec.key {
            self.keys.insert(key.text.clone(), record.number());
        }
        self.by_number.insert(record.number(), record);
    }

    fn take(&mut self, number: u64) -> Option<Record> {
        let record = self.by_number.remove(&number)?;
        self.numbers.remove(&record.spec.id);
        if let Some(key) = &record.spec.key {
            self.keys.remove(&key.text);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
