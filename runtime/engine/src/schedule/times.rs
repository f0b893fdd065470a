//! [`Times`]: when a schedule fires.

use jiff::Timestamp;

use super::cron::CronTimes;
use super::interval::Interval;

/// When a schedule fires. Times are whole microseconds, which is what stores keep.
#[derive(Clone, Debug)]
pub(super) enum Times {
    Cron(Box<CronTimes>),
    Every(Interval),
    At(Timestamp),
}

impl Times {
    /// Returns the first time after `time`.
    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(time),
            Self::Every(interval) => interval.next_after(time),
            Self::At(at) => Some(*at).filter(|at| *at > time),
        }
    }

    /// Returns the last time from `from` to `until`, both included.
    ///
    /// Halves the range, so that its cost hardly depends on how many times there are: about 50 searches for a year.
    pub(super) fn last_between(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let next_of = |microsecond| self.next_after(Timestamp::from_microsecond(microsecond).ok()?);
        let has_time_after = |microsecond| next_of(microsecond).is_some_and(|next| next <= until);
        // There is a time after `low`, and none after `high`.
        let (mut low, mut high) = (from.as_microsecond().checked_sub(1)?, until.as_microsecond());
        if !has_time_after(low) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if has_time_after(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        next_of(low)
    }
}
