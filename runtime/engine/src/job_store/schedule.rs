//! [`ScheduleRecord`]: when jobs are submitted again and again.

use jiff::Timestamp;

use crate::job::JobId;

/// A stored schedule. The store does not look into its definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRecord {
    pub name: String,
    /// When it fires and what it submits, in the words of its owner.
    pub definition: serde_json::Value,
    pub is_paused: bool,
    /// When it fires next, or `None` if it never does again.
    pub next: Option<Timestamp>,
    /// The time for which it fired last.
    pub last: Option<Timestamp>,
    /// The handler whose manifest it comes from, or `None` if it comes from no manifest.
    pub owner: Option<String>,
}

/// The result of a firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firing {
    /// The jobs were submitted, and the schedule has its next time.
    Fired(Vec<JobId>),
    /// The schedule has fired for this time already, was changed meanwhile, is paused, or does not exist. Nothing was submitted.
    Passed,
}
