//! [`ScheduleError`]: why a definition makes no schedule.

use capstan_core::retry::RetryPolicyError;

/// Why a definition makes no schedule. The text names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("{0:?} is not a name of a schedule: 1 to 255 characters a-z, 0-9, `.`, `_` and `-`")]
    Name(String),
    /// The JSON has another structure.
    #[error("cannot read the schedule: {0}")]
    Structure(String),
    #[error("the schedule has no times; set one of cron, every and at")]
    NoTimes,
    #[error("the schedule has both {0} and {1}; set one of cron, every and at")]
    SeveralTimes(&'static str, &'static str),
    #[error("cron is {pattern:?}, which is not a pattern: {reason}")]
    Cron { pattern: String, reason: String },
    #[error("cron is {0:?}, which never fires: no such date exists")]
    NoSuchDate(String),
    #[error("at is in the past, so the schedule never fires")]
    Past,
    #[error("time_zone is {0:?}, which is not the name of a time zone such as Europe/Berlin")]
    TimeZone(String),
    #[error("time_zone is only for cron; every and at do not depend on it")]
    UnusedTimeZone,
    /// The values are in seconds.
    #[error("{field} is {value} s, which is not from {min} s to {max} s")]
    Range { field: &'static str, value: String, min: u64, max: u64 },
    #[error("the job has both stdin and stdin_base64; set one of them")]
    SeveralStdins,
    #[error("cannot decode stdin_base64: {0}")]
    Base64(String),
    #[error("the label {0:?} starts with `capstan.`, which is reserved; use another name")]
    ReservedLabel(String),
    #[error("in the job, {0}")]
    Retry(#[from] RetryPolicyError),
}
