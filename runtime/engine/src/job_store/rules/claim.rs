//! [`claim`]: takes queued jobs in a fair order.

use std::collections::HashMap;

use capstan_core::outcome::Outcome;
use capstan_core::usage::UsageReport;
use jiff::Timestamp;

use super::super::claim::{Capacity, ClaimRequest, Claimed, Lease, Now};
use super::super::error::JobStoreError;
use super::super::record::{AttemptRecord, JobRecord, State};
use super::super::tables::Tables;
use super::effects::Effects;
use super::end;
use crate::job::JobId;

/// The jobs that one claim moves because of the time. More follow at the next claim.
const MAX_MOVED: usize = 1000;

/// Whose turn it is: the handler, and the concurrency key of each handler, that had the last turn.
#[derive(Debug, Default)]
pub struct Turns {
    handler: Option<String>,
    keys: HashMap<String, String>,
}

/// How many more jobs this claim can take of each handler and each concurrency key that it has looked at.
struct Room<'a> {
    capacity: &'a dyn Capacity,
    handlers: HashMap<String, usize>,
    keys: HashMap<(String, String), usize>,
}

/// Takes queued jobs; see [`JobStore::claim`](super::super::JobStore::claim).
///
/// The cost of a claimed job does not depend on how many jobs are queued. It grows with the number of handlers and keys that are excluded.
///
/// # Errors
/// [`JobStoreError`]
pub fn claim(
    tables: &mut impl Tables,
    effects: &mut Effects,
    turns: &mut Turns,
    now: Now,
    request: &ClaimRequest,
) -> Result<Vec<Claimed>, JobStoreError> {
    move_by_time(tables, effects, now.wall)?;
    let mut claimed = Vec::new();
    let mut room = Room::of(request.capacity.as_ref());
    let mut stdin_bytes = 0;
    while claimed.len() < request.limit && stdin_bytes < request.stdin.max(1) {
        let Some(id) = next_job(tables, turns, &mut room)? else { break };
        let Some(mut job) = end::load(tables, effects, now.wall, id)? else { continue };
        job.start();
        let lease = Lease { job: id, attempt: job.attempt };
        tables.insert_attempt(id, &new_attempt(&job, request, now.wall))?;
        end::save(tables, effects, now.wall, &job, State::Queued)?;
        effects.started(lease, now.monotonic + request.lease);
        room.take(job.handler.as_str(), job.lane());
        let stdin = tables.stdin(id)?;
        stdin_bytes += stdin.len() as u64;
        claimed.push(Claimed { lease, stdin, job });
    }
    Ok(claimed)
}

impl<'a> Room<'a> {
    fn of(capacity: &'a dyn Capacity) -> Self {
        Self { capacity, handlers: HashMap::new(), keys: HashMap::new() }
    }

    fn of_handler(&mut self, handler: &str) -> usize {
        if let Some(room) = self.handlers.get(handler) {
            return *room;
        }
        let room = self.capacity.of_handler(handler);
        self.handlers.insert(handler.to_owned(), room);
        room
    }

    fn of_key(&mut self, handler: &str, key: &str) -> usize {
        if key.is_empty() {
            return usize::MAX;
        }
        let of_key = || self.capacity.of_key(handler, key);
        *self.keys.entry((handler.to_owned(), key.to_owned())).or_insert_with(of_key)
    }

    /// Counts a job that was taken.
    fn take(&mut self, handler: &str, key: &str) {
        if let Some(room) = self.handlers.get_mut(handler) {
            *room = room.saturating_sub(1);
        }
        if let Some(room) = self.keys.get_mut(&(handler.to_owned(), key.to_owned())) {
            *room = room.saturating_sub(1);
        }
    }
}

/// Queues the jobs that came due, and refuses those that missed their start deadline.
fn move_by_time(tables: &mut impl Tables, effects: &mut Effects, now: Timestamp) -> Result<(), JobStoreError> {
    for id in tables.overdue(now, MAX_MOVED)? {
        let loaded = end::load(tables, effects, now, id)?;
        let Some(mut job) = loaded.filter(|job| job.missed_start_deadline(now)) else { continue };
        let before = job.state;
        let why = "its first run did not start before its start deadline".to_owned();
        job.end_without_run(Outcome::Refused { why }, now);
        end::save(tables, effects, now, &job, before)?;
    }
    for id in tables.due(now, MAX_MOVED)? {
        let Some(mut job) = end::load(tables, effects, now, id)? else { continue };
        let before = job.state;
        job.release(now);
        end::save(tables, effects, now, &job, before)?;
    }
    Ok(())
}

fn new_attempt(job: &JobRecord, request: &ClaimRequest, now: Timestamp) -> AttemptRecord {
    AttemptRecord {
        number: job.attempt,
        worker: request.worker.clone(),
        started: now,
        end: None,
        usage: UsageReport::default(),
        output: 0,
    }
}

/// Returns the job whose turn it is, and gives the next turn to others.
fn next_job(tables: &mut impl Tables, turns: &mut Turns, room: &mut Room<'_>) -> Result<Option<JobId>, JobStoreError> {
    let last = turns.handler.clone();
    let mut after = last.clone();
    let mut has_wrapped = last.is_none();
    loop {
        let Some(handler) = tables.next_handler(after.as_deref())? else {
            if has_wrapped {
                return Ok(None);
            }
            has_wrapped = true;
            after = None;
            continue;
        };
        if has_wrapped && last.as_ref().is_some_and(|last| handler > *last) {
            return Ok(None);
        }
        if !tables.is_paused(&handler)?
            && room.of_handler(&handler) > 0
            && let Some((key, id)) = next_of_handler(tables, turns.keys.get(&handler), &handler, room)?
        {
            turns.keys.insert(handler.clone(), key);
            turns.handler = Some(handler);
            return Ok(Some(id));
        }
        after = Some(handler);
    }
}

/// Returns the job of `handler` whose turn it is, with its key: of the highest priority, of the first key after `last`.
fn next_of_handler(
    tables: &mut impl Tables,
    last: Option<&String>,
    handler: &str,
    room: &mut Room<'_>,
) -> Result<Option<(String, JobId)>, JobStoreError> {
    let mut below = None;
    while let Some(priority) = tables.next_priority(handler, below)? {
        let mut after = last.cloned();
        let mut has_wrapped = last.is_none();
        loop {
            match tables.next_lane(handler, priority, after.as_deref())? {
                Some((key, _)) if has_wrapped && last.is_some_and(|last| key > *last) => break,
                Some((key, id)) if room.of_key(handler, &key) > 0 => return Ok(Some((key, id))),
                Some((key, _)) => after = Some(key),
                None if has_wrapped => break,
                None => (has_wrapped, after) = (true, None),
            }
        }
        below = Some(priority);
    }
    Ok(None)
}
