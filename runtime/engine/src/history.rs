//! `History`: which jobs there are and have been, and what they printed.
//!
//! [`HistoryStore`] is the boundary: the engine tells it of every job that starts and ends, the API asks it. [`History`] keeps the records in
//! memory, and is bounded: of the jobs that have ended, the one that ended first is forgotten first. One that goes on is never forgotten.

mod budget;
mod log;
mod record;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use self::budget::Budget;
pub use self::log::{Follower, LOG_SIZE, Log, Next, Piece, Writer};
pub use self::record::{Filter, Key, Page, Record};
use crate::job::{End, Job, JobId, StartError};

/// Jobs that have ended and are remembered, by default.
pub const DEFAULT_JOBS: usize = 1000;
/// Bytes of output and arguments that are kept in all, by default.
pub const DEFAULT_BYTES: usize = 64 << 20;

/// Who remembers jobs. Nothing here waits for anything but a short lock.
pub trait HistoryStore: fmt::Debug + Send + Sync + 'static {
    /// A log for the output of a job that is about to be made.
    fn log(&self) -> Log;

    /// Notes that `job` was let in. It has not begun yet, and goes on only if this does not fail.
    ///
    /// # Errors
    /// [`StartError::Taken`] where a job that is remembered has the same key.
    fn begin(&self, job: &Job) -> Result<(), StartError>;

    /// Notes that `job` has ended. It may have been removed by then.
    fn end(&self, job: &Job, end: &End);

    /// What is known of a job.
    fn find(&self, job: JobId) -> Option<Record>;

    /// The job that was made under `key`, as [`StartError::Taken`].
    ///
    /// # Errors
    /// [`StartError::Taken`] where there is one.
    fn check(&self, key: &Key) -> Result<(), StartError>;

    /// The jobs that `filter` lets through, the last to start first: at most `limit` of those that started before the one that
    /// `before` numbers.
    fn list(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page;

    /// Forgets a job that has ended.
    ///
    /// # Errors
    /// [`RemoveError`], and then nothing is changed.
    fn remove(&self, job: JobId) -> Result<(), RemoveError>;
}

/// Why a job was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error("no job {0}")]
    Unknown(JobId),
    #[error("job {0} has not ended")]
    GoesOn(JobId),
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Jobs that have ended. Default [`DEFAULT_JOBS`].
    pub jobs: usize,
    /// Bytes of output and arguments in all. Default [`DEFAULT_BYTES`]. Where jobs that go on need more, each keeps the last 64 KiB.
    pub bytes: usize,
}

/// The record of jobs in memory.
#[derive(Debug)]
pub struct History {
    bounds: Bounds,
    budget: Arc<Budget>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// The number of the last job that started.
    last: u64,
    records: BTreeMap<u64, Record>,
    numbers: HashMap<JobId, u64>,
    keys: HashMap<String, u64>,
    /// The numbers of jobs that have ended, in the order of their ends.
    ended: VecDeque<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { jobs: DEFAULT_JOBS, bytes: DEFAULT_BYTES }
    }
}

impl History {
    /// A record of nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, budget: Arc::new(Budget::new(bounds.bytes)), inside: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no panic while the lock is held")
    }

    /// Takes out the job that ended first, where there are too many or they take too much.
    fn one_too_many(&self, inside: &mut Inside) -> Option<Record> {
        let too_many = inside.ended.len() > self.bounds.jobs || self.budget.is_exceeded();
        let number = if too_many { inside.ended.pop_front()? } else { return None };
        let record = inside.take(number)?;
        self.discharge(&record);
        Some(record)
    }

    /// What somebody may still read of it is no longer counted: it lives as long as its reader.
    fn discharge(&self, record: &Record) {
        self.budget.subtract(record.weight);
        if let Some(log) = &record.log {
            log.discharge();
        }
    }
}

impl HistoryStore for History {
    fn log(&self) -> Log {
        Log::new(self.budget.clone())
    }

    fn begin(&self, job: &Job) -> Result<(), StartError> {
        let mut inside = self.lock();
        if let Some(key) = &job.spec().key {
            inside.check(key)?;
        }
        inside.last += 1;
        let record = Record::new(inside.last, job);
        self.budget.add(record.weight);
        inside.put(record);
        Ok(())
    }

    fn end(&self, job: &Job, end: &End) {
        let mut inside = self.lock();
        let Some(&number) = inside.numbers.get(&job.id()) else { return };
        let record = inside.records.get_mut(&number).expect("both have the same jobs");
        self.budget.add(record.set_ended(job.started(), end.clone()));
        inside.ended.push_back(number);
        while let Some(gone) = self.one_too_many(&mut inside) {
            // What it kept is given back without the lock.
            drop(inside);
            drop(gone);
            inside = self.lock();
        }
    }

    fn find(&self, job: JobId) -> Option<Record> {
        let inside = self.lock();
        inside.records.get(inside.numbers.get(&job)?).cloned()
    }

    fn check(&self, key: &Key) -> Result<(), StartError> {
        self.lock().check(key)
    }

    fn list(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page {
        let inside = self.lock();
        let mut found = inside.records.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, record)| record);
        let mut found = found.by_ref().filter(|record| filter.matches(record));
        let records: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let next = found.next().and(records.last()).map(Record::number);
        Page { records, next }
    }

    fn remove(&self, job: JobId) -> Result<(), RemoveError> {
        let mut inside = self.lock();
        let number = *inside.numbers.get(&job).ok_or(RemoveError::Unknown(job))?;
        if !inside.records.get(&number).is_some_and(Record::has_ended) {
            return Err(RemoveError::GoesOn(job));
        }
        inside.ended.retain(|ended| *ended != number);
        let record = inside.take(number);
        drop(inside);
        if let Some(record) = record {
            self.discharge(&record);
        }
        Ok(())
    }
}

impl Inside {
    fn check(&self, key: &Key) -> Result<(), StartError> {
        let Some(other) = self.keys.get(&key.text).and_then(|number| self.records.get(number)) else { return Ok(()) };
        let same = other.given.key.as_ref().is_some_and(|other| other.is_same_request(key));
        Err(StartError::Taken { job: other.given.id, same })
    }

    fn put(&mut self, record: Record) {
        self.numbers.insert(record.given.id, record.number());
        if let Some(key) = &record.given.key {
            self.keys.insert(key.text.clone(), record.number());
        }
        self.records.insert(record.number(), record);
    }

    fn take(&mut self, number: u64) -> Option<Record> {
        let record = self.records.remove(&number)?;
        self.numbers.remove(&record.given.id);
        if let Some(key) = &record.given.key {
            self.keys.remove(&key.text);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
