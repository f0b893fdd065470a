//! [`ScheduleStatus`]: a schedule as others see it.

use jiff::Timestamp;

use super::entries::Entry;
use crate::schedule::ScheduleError;

/// How many of its next times a [`ScheduleStatus`] has.
pub const UPCOMING: usize = 5;

/// A schedule as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleStatus {
    pub name: String,
    /// The definition in JSON, with its defaults.
    pub definition: serde_json::Value,
    pub is_paused: bool,
    /// The handler whose manifest it comes from.
    pub owner: Option<String>,
    /// The time for which it fired last.
    pub last: Option<Timestamp>,
    /// Its next times, at most [`UPCOMING`], the first one first. Empty while it is paused, and if it does not fire again.
    pub upcoming: Vec<Timestamp>,
    /// Why it does not fire, if this Capstan cannot read its definition.
    pub error: Option<ScheduleError>,
}

/// The result of a [`put`](super::Scheduler::put).
#[derive(Clone, Debug, PartialEq)]
pub struct PutSchedule {
    pub status: ScheduleStatus,
    /// Whether there was no schedule with the name.
    pub is_new: bool,
}

impl ScheduleStatus {
    pub(super) fn of(entry: &Entry) -> Self {
        let record = &entry.record;
        let mut upcoming: Vec<_> = entry.next().into_iter().collect();
        if let (Some(next), Ok(schedule)) = (entry.next(), &entry.schedule) {
            upcoming.extend(schedule.upcoming(next, UPCOMING - 1));
        }
        Self {
            name: record.name.clone(),
            definition: record.definition.clone(),
            is_paused: record.is_paused,
            owner: record.owner.clone(),
            last: record.last,
            upcoming,
            error: entry.schedule.as_ref().err().cloned(),
        }
    }
}
