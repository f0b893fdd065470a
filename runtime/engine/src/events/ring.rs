//! [`Ring`]: the last events, and where their numbers start.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::kind::{Event, EventKind};
use crate::job_store::EventNumbers;

/// What a subscriber reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Event(Arc<Event>),
    /// Events that were dropped before they were read.
    Gap {
        missed: u64,
    },
    /// Events of earlier processes, which are not kept.
    Restart {
        /// How many there are. `None` if that is not known, because an earlier process ended without a record of its last event.
        missed: Option<u64>,
        /// When this process started to number events.
        at: Timestamp,
    },
}

/// The last events, and where their numbers start.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: usize,
    events: VecDeque<Event>,
    /// The number of the first event of this process.
    first: u64,
    started: Timestamp,
    /// The numbers of the process before this one.
    earlier: Option<EventNumbers>,
    /// From this number on, more numbers must be reserved.
    pub(super) reserve_at: u64,
    /// Whether no more events are numbered.
    pub(super) is_closed: bool,
}

impl Ring {
    pub(super) fn new(capacity: usize, room: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            events: VecDeque::with_capacity(capacity.min(room)),
            first: 1,
            started: Timestamp::now(),
            earlier: None,
            reserve_at: u64::MAX,
            is_closed: false,
        }
    }

    /// Returns the number of the first event of this process.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Adds the event with the number `seq`.
    pub(super) fn push(&mut self, seq: u64, kind: EventKind) {
        if self.events.len() == self.capacity {
            self.events.pop_front();
        }
        // If the clock is set back, the times of events still increase.
        let at = self.events.back().map_or(Timestamp::MIN, |last| last.at).max(Timestamp::now());
        self.events.push_back(Event { seq, at, kind });
    }

    /// Makes `first` the number of the first event, also of those that were published already. Returns the number of the last.
    pub(super) fn start_at(&mut self, first: u64, earlier: Option<EventNumbers>) -> u64 {
        let moved = first - self.first;
        self.events.iter_mut().for_each(|event| event.seq += moved);
        self.first = first;
        self.started = Timestamp::now();
        self.earlier = earlier;
        self.events.back().map_or(first - 1, |last| last.seq)
    }

    /// Returns what the subscriber reads whose next number is `seq`, and its next number then.
    pub(super) fn get(&self, seq: u64) -> Option<(Item, u64)> {
        if let Some((item, next)) = self.restart(seq) {
            return Some((item, next));
        }
        let seq = seq.max(self.first);
        let kept = self.events.front()?.seq;
        if seq < kept {
            return Some((Item::Gap { missed: kept - seq }, kept));
        }
        let index = usize::try_from(seq - kept).ok()?;
        let event = self.events.get(index).cloned()?;
        Some((Item::Event(Arc::new(event)), seq + 1))
    }

    /// Returns the item for the events of earlier processes from the number `seq` on, if there may be any.
    fn restart(&self, seq: u64) -> Option<(Item, u64)> {
        let earlier = self.earlier.filter(|_| seq < self.first)?;
        let known = |last: u64| (last + 1).saturating_sub(seq);
        let missed = earlier.last.filter(|_| seq >= earlier.first).map(known);
        (missed != Some(0)).then_some((Item::Restart { missed, at: self.started }, self.first))
    }

    /// Returns the next number of a subscriber who reads all events at `time` or later. `last` is the number of the last event. If even the oldest
    /// event is that late, those that were dropped before it may have been late enough too.
    pub(super) fn since(&self, time: Timestamp, last: u64) -> u64 {
        if time < self.started && self.earlier.is_some() {
            return 0;
        }
        match self.events.partition_point(|event| event.at < time) {
            0 if !self.events.is_empty() => self.first,
            earlier => self.events.get(earlier).map_or(last + 1, |event| event.seq),
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.events.len(), self.events.capacity())
    }
}
