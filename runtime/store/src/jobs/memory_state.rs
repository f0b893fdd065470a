//! [`MemoryState`]: what the thread that writes keeps in memory, because it is asked for often.

use std::collections::{BTreeSet, HashMap};

use capstan_engine::job_store::{JobStoreError, State};
use rusqlite::Connection;

use super::rows::{get, state, state_number};
use super::segments::Segments;
use super::sql::all;

/// What the thread that writes keeps in memory. All of it can be read from the database again.
#[derive(Debug)]
pub(super) struct MemoryState {
    pub(super) counts: Counts,
    pub(super) paused: BTreeSet<String>,
    pub(super) segments: Segments,
}

/// The jobs that have not ended, by handler and state.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<String, [i64; State::ALL.len()]>);

impl MemoryState {
    pub(super) fn load(db: &Connection, segments: Segments) -> Result<Self, JobStoreError> {
        let mut loaded = Self { counts: Counts::default(), paused: BTreeSet::new(), segments };
        loaded.reload(db)?;
        Ok(loaded)
    }

    /// Reads everything again, after a change was undone.
    pub(super) fn reload(&mut self, db: &Connection) -> Result<(), JobStoreError> {
        self.counts = Counts::load(db)?;
        self.paused = all(db, "SELECT handler FROM paused", [], |row| get(row, 0))?.into_iter().collect();
        self.segments.reload(db)
    }
}

impl Counts {
    /// Counts the jobs. Each state has an index with the handler, so this reads no job.
    fn load(db: &Connection) -> Result<Self, JobStoreError> {
        let mut counts = Self::default();
        for sql in [
            "SELECT handler, 2, count(*) FROM jobs INDEXED BY queued_by_age WHERE state = 2 GROUP BY handler",
            "SELECT handler, 1, count(*) FROM jobs INDEXED BY waiting WHERE state = 1 GROUP BY handler",
            "SELECT handler, 3, count(*) FROM jobs INDEXED BY running WHERE state = 3 GROUP BY handler",
            "SELECT handler, state, count(*) FROM jobs INDEXED BY due WHERE state IN (0, 4) GROUP BY handler, state",
        ] {
            for (handler, number, count) in
                all(db, sql, [], |row| Ok((get::<String>(row, 0)?, get::<i64>(row, 1)?, get::<i64>(row, 2)?)))?
            {
                if let Some(state) = state(number) {
                    counts.add(&handler, state, count);
                }
            }
        }
        Ok(counts)
    }

    /// Adds `count` jobs of `handler` in `state`.
    pub(super) fn add(&mut self, handler: &str, state: State, count: i64) {
        if state.has_ended() {
            return;
        }
        if !self.0.contains_key(handler) {
            self.0.insert(handler.to_owned(), [0; State::ALL.len()]);
        }
        let counts = self.0.get_mut(handler).expect("it was inserted");
        counts[usize::try_from(state_number(state)).expect("it is a place in an array")] += count;
        if counts.iter().all(|count| *count == 0) {
            self.0.remove(handler);
        }
    }

    /// Returns how many jobs of `handler` have not ended.
    pub(super) fn depth(&self, handler: &str) -> u64 {
        self.0.get(handler).map_or(0, |counts| counts.iter().map(|count| count.unsigned_abs()).sum())
    }

    /// Returns the jobs by handler and state.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (State, u64)>)> {
        self.0.iter().map(|(handler, counts)| {
            let counts = State::ALL.iter().zip(counts).map(|(state, count)| (*state, count.unsigned_abs()));
            (handler.as_str(), counts)
        })
    }
}
