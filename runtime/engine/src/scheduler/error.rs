//! [`SchedulerError`]: why a schedule was not changed or run.

use super::limits::{MAX_DEFINITIONS, MAX_SCHEDULES};
use crate::job_store::{JobStoreError, ScheduleRecord, SubmitError};
use crate::schedule::ScheduleError;

/// Why a schedule was not changed or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    #[error("no schedule {0:?}")]
    Unknown(String),
    #[error(transparent)]
    Invalid(#[from] ScheduleError),
    /// The store does not take the jobs of the schedule.
    #[error("cannot submit a job of the schedule: {0}")]
    Refused(SubmitError),
    #[error(
        "there is no room for another schedule: the limits are {} schedules, and {} bytes of definitions; remove some",
        MAX_SCHEDULES,
        MAX_DEFINITIONS
    )]
    TooMany,
    /// The schedule with this name comes from elsewhere: from the manifest of a handler, or from no manifest.
    #[error("{}", conflict(.name, .owner.as_deref()))]
    Conflict { name: String, owner: Option<String> },
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

impl SchedulerError {
    pub(super) fn conflict(known: &ScheduleRecord) -> Self {
        Self::Conflict { name: known.name.clone(), owner: known.owner.clone() }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown(name.chars().take(crate::schedule::MAX_SCHEDULE_NAME).collect())
    }
}

fn conflict(name: &str, owner: Option<&str>) -> String {
    match owner {
        Some(handler) => {
            format!(
                "the schedule {name:?} comes from the manifest of the handler {handler:?}; change it there, and push it again"
            )
        }
        None => format!(
            "there is a schedule {name:?} that comes from no manifest; remove it, or give the one in the manifest another name"
        ),
    }
}
