//! [`Effects`]: what follows once a transaction is committed. [`Leases`]: until when the leases of this process last.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::claim::Lease;
use super::super::follow_up::FollowUps;
use super::super::record::{JobRecord, NewJob};
use super::super::watch::Change;

/// What follows once a transaction is committed.
#[derive(Debug, Default)]
pub struct Effects {
    pub changes: Vec<Change>,
    started: Vec<(Lease, Instant)>,
    ended: Vec<Lease>,
    follow_ups: Option<Arc<dyn FollowUps>>,
    /// The jobs that follow ends, each with the time of the end. Empty at the end of a change.
    new_jobs: VecDeque<(Timestamp, NewJob)>,
}

/// Until when the leases of this process last, by the monotonic clock.
#[derive(Debug, Default)]
pub struct Leases(HashMap<Lease, Instant>);

impl Effects {
    /// Returns the effects of a change, for ends that `follow_ups` decides about.
    pub fn followed_by(follow_ups: Option<Arc<dyn FollowUps>>) -> Self {
        Self { follow_ups, ..Self::default() }
    }

    /// Adds what follows from a later change of the same transaction.
    pub fn append(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.started.extend(later.started);
        self.ended.extend(later.ended);
    }

    pub(super) fn changed(&mut self, job: &JobRecord) {
        self.changes.push(Change::of(job));
        if let (Some(end), Some(follow_ups)) = (&job.end, &self.follow_ups) {
            self.new_jobs.extend(follow_ups.follow_ups(job).into_iter().map(|new| (end.at, new)));
        }
    }

    /// Returns the next job that follows an end, with the time of the end.
    pub(super) fn take_follow_up(&mut self) -> Option<(Timestamp, NewJob)> {
        self.new_jobs.pop_front()
    }

    pub(super) fn started(&mut self, lease: Lease, until: Instant) {
        self.started.push((lease, until));
    }

    pub(super) fn ended(&mut self, lease: Lease) {
        self.ended.push(lease);
    }
}

impl Leases {
    /// Takes over what `effects` say about leases.
    pub fn apply(&mut self, effects: &mut Effects) {
        self.0.extend(effects.started.drain(..));
        for lease in effects.ended.drain(..) {
            self.0.remove(&lease);
        }
    }

    /// Extends leases to `duration` from `now`. Returns those that are not held.
    pub fn extend(&mut self, leases: Vec<Lease>, now: Instant, duration: Duration) -> Vec<Lease> {
        leases
            .into_iter()
            .filter(|lease| self.0.get_mut(lease).map(|until| *until = now + duration).is_none())
            .collect()
    }

    /// Returns the leases that have run out at `now`.
    pub fn run_out(&self, now: Instant) -> Vec<Lease> {
        self.0.iter().filter(|(_, until)| **until <= now).map(|(lease, _)| *lease).collect()
    }

    /// Returns whether `lease` is held.
    pub fn contains(&self, lease: &Lease) -> bool {
        self.0.contains_key(lease)
    }
}
