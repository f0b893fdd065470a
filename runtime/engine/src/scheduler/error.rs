//! [`SchedulerError`]: why a schedule was not changed or run.

use super::limits::{MAX_DEFINITIONS, MAX_SCHEDULES};
use crate::job_store::{JobStoreError, SubmitError};
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
    #[error(transparent)]
    Store(#[from] JobStoreError),
}

impl SchedulerError {
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown(name.chars().take(crate::schedule::MAX_SCHEDULE_NAME).collect())
    }
}
