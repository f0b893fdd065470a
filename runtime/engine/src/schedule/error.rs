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
    #[error("the label {0:?} is no name: use 1 to 63 letters, digits and . _ - /")]
    Label(String),
    #[error("argument {0} contains a NUL byte")]
    ArgContainsNul(usize),
    #[error("concurrency_key must have 1 to 255 printable ASCII characters")]
    ConcurrencyKey,
    #[error("in the job, {0}")]
    Retry(#[from] RetryPolicyError),
    /// Two schedules of a manifest have this name, or none.
    #[error("{}", repeated(.0.as_deref()))]
    Repeated(Option<String>),
}

impl ScheduleError {
    /// Returns the field that is wrong, if it is one.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Name(_) => Some("name"),
            Self::SeveralTimes(_, field) | Self::Range { field, .. } => Some(field),
            Self::Cron { .. } | Self::NoSuchDate(_) => Some("cron"),
            Self::Past => Some("at"),
            Self::TimeZone(_) | Self::UnusedTimeZone => Some("time_zone"),
            Self::SeveralStdins | Self::Base64(_) => Some("stdin_base64"),
            Self::ReservedLabel(_) | Self::Label(_) => Some("labels"),
            Self::ArgContainsNul(_) => Some("args"),
            Self::ConcurrencyKey => Some("concurrency_key"),
            Self::Retry(_) => Some("retry"),
            Self::Repeated(Some(_)) => Some("name"),
            Self::Structure(_) | Self::NoTimes | Self::Repeated(None) => None,
        }
    }
}

fn repeated(name: Option<&str>) -> String {
    match name {
        Some(name) => {
            format!("two schedules have the name {name:?}; a schedule without a name has that of the handler")
        }
        None => "there are two schedules without a name, which would have that of the handler; name them".to_owned(),
    }
}
