//! Schedules: jobs that are submitted again and again, or once at a later time.
//!
//! A [`ScheduleDefinition`] is what its owner writes. A [`Schedule`] is a definition that was checked, and knows its times. Both are plain
//! data: every function that depends on the time gets it as a parameter.
//!
//! # Times
//!
//! A schedule has one of three kinds of times:
//! - `cron`: a pattern of five fields (minute, hour, day of the month, month, day of the week), or of six with seconds first, or one of
//!   `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly`. As in other crons, a day matches if one of the two fields for days does and
//!   neither is `*`.
//! - `every`: a duration. The times are its multiples since 1970 in UTC, so that neither a restart nor a new definition moves them: `1h` is
//!   at each full hour.
//! - `at`: one time.
//!
//! # Daylight saving time
//!
//! A cron pattern is about the clock on the wall of its time zone, which is UTC by default. Where that clock is changed:
//!
//! | pattern | a time that the clock skips | a time that the clock shows twice |
//! |---|---|---|
//! | has one second, one minute and one hour, such as `30 2 * * *` | fires when the skipped part ends | fires the first time |
//! | any other, such as `*/15 * * * *` or `0 1,2 * * *` | does not fire | fires both times |
//!
//! So a daily job runs once each day, and a job of every 15 minutes keeps its distance.

mod catch_up;
mod cron;
mod definition;
mod error;
mod interval;
mod job;
mod manifest;
mod name;
mod times;

pub use capstan_core::schedule::{CatchUp, Overlap};

pub use self::catch_up::{MAX_CAUGHT_UP, ON_TIME};
pub use self::definition::{MAX_JITTER, Schedule, ScheduleDefinition};
pub use self::error::ScheduleError;
pub use self::interval::{MAX_INTERVAL, MIN_INTERVAL};
pub use self::job::{RESERVED_LABELS, SCHEDULE_LABEL, SCHEDULED_AT_LABEL, ScheduledJob, is_label_name};
pub use self::manifest::{ManifestSchedules, manifest_schedules, parse_manifest};
pub use self::name::{MAX_SCHEDULE_NAME, check_name};

#[cfg(test)]
mod tests;
