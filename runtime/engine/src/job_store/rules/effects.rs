//! [`Effects`]: what follows once a transaction is committed. [`Leases`]: until when the leases of this process last.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::claim::Lease;
use super::super::record::JobRecord;
use super::super::watch::Change;

/// What follows once a transaction is committed.
#[derive(Debug, Default)]
pub struct Effects {
    pub changes: Vec<Change>,
    started: Vec<(Lease, Instant)>,
    ended: Vec<Lease>,
}

/// Until when the leases of this process last, by the monotonic clock.
#[derive(Debug, Default)]
pub struct Leases(HashMap<Lease, Instant>);

impl Effects {
    /// Adds what follows from a later change of the same transaction.
    pub fn append(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.started.extend(later.started);
        self.ended.extend(later.ended);
    }

    pub(super) fn changed(&mut self, job: &JobRecord) {
        self.changes.push(Change::of(job));
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
