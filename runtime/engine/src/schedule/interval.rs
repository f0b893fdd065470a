//! [`Interval`]: the times of `every`.

use std::time::Duration;

use jiff::Timestamp;

use super::error::ScheduleError;

/// The shortest interval of a schedule: a store commits each firing.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval of a schedule, 366 days. `cron` has longer ones.
pub const MAX_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);

/// The multiples of a duration since 1970, in whole microseconds, which is what stores keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    microseconds: i64,
}

impl Interval {
    /// Checks `every`, and rounds it to whole milliseconds.
    pub(super) fn new(every: Duration) -> Result<Self, ScheduleError> {
        check_range("every", every, MIN_INTERVAL, MAX_INTERVAL)?;
        let milliseconds = every.as_nanos().div_euclid(1_000_000);
        let milliseconds = i64::try_from(milliseconds).expect("the longest interval has about 2^35 milliseconds");
        Ok(Self { microseconds: milliseconds * 1000 })
    }

    pub(super) fn next_after(self, time: Timestamp) -> Option<Timestamp> {
        let passed = time.as_microsecond().div_euclid(self.microseconds);
        let next = passed.checked_add(1)?.checked_mul(self.microseconds)?;
        Timestamp::from_microsecond(next).ok()
    }
}

/// Checks that `value` is from `min` to `max`.
pub(super) fn check_range(
    field: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), ScheduleError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let value = value.as_secs_f64().to_string();
    Err(ScheduleError::Range { field, value, min: min.as_secs(), max: max.as_secs() })
}
