//! [`CronTimes`]: the times of a cron pattern in a time zone.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::error::ScheduleError;

/// Bytes of the longest pattern. The longest useful one lists all seconds, minutes, hours and days.
const MAX_PATTERN: usize = 1024;

/// The seconds from 1970 to 4600-01-01. Dates and weekdays repeat after 400 years, and the library gives up at the year 5000: a pattern without
/// a time after this one never has any, and a search from here takes about 10 ms at most.
const LAST_CYCLE: i64 = 82_994_803_200;

/// The times of a cron pattern in a time zone. Times are whole seconds.
#[derive(Clone, Debug)]
pub(super) struct CronTimes {
    cron: Cron,
    zone: TimeZone,
}

impl CronTimes {
    /// Parses `pattern`.
    ///
    /// # Errors
    /// [`ScheduleError::Cron`], [`ScheduleError::TimeZone`], and [`ScheduleError::NoSuchDate`] for a pattern such as `0 0 31 2 *`.
    pub(super) fn new(pattern: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let zone = zone.map_or(Ok(TimeZone::UTC), time_zone)?;
        let times = Self { cron: parse(pattern)?, zone };
        let start = Timestamp::from_second(LAST_CYCLE).expect("jiff knows years up to 9999");
        times.next_after(start).ok_or_else(|| ScheduleError::NoSuchDate(pattern.to_owned()))?;
        Ok(times)
    }

    /// Returns the first time after `time`.
    ///
    /// The library gives up at the year 5000, so a search ends.
    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&time.to_zoned(self.zone.clone()), false).ok()?;
        Some(found.timestamp()).filter(|next| *next > time)
    }
}

fn parse(pattern: &str) -> Result<Cron, ScheduleError> {
    let failed = |reason: String| ScheduleError::Cron { pattern: pattern.chars().take(MAX_PATTERN).collect(), reason };
    if pattern.len() > MAX_PATTERN {
        return Err(failed(format!("it has more than {MAX_PATTERN} characters")));
    }
    let fields = pattern.split_whitespace().count();
    let is_alias = pattern.trim_start().starts_with('@');
    if is_alias && !ALIASES.contains(&pattern.trim().to_ascii_lowercase().as_str()) {
        return Err(failed(format!("the aliases are {}", ALIASES.join(", "))));
    }
    if !is_alias && !(5..=6).contains(&fields) {
        return Err(failed(format!("it has {fields} fields; use 5, or 6 with seconds first")));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(pattern).map_err(|error| {
        failed(match error {
            CronError::InvalidPattern(text) | CronError::IllegalCharacters(text) | CronError::ComponentError(text) => {
                text
            }
            other => other.to_string(),
        })
    })
}

const ALIASES: [&str; 6] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"];

/// Returns the time zone `name` of the database that is built in.
fn time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| ScheduleError::TimeZone(name.chars().take(100).collect()))
}
