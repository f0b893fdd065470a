//! [`ScheduleDefinition`]: what the owner of a schedule writes. [`Schedule`]: the same, checked.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::schedule::{CatchUp, Overlap};
use capstan_core::units;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::catch_up;
use super::cron::CronTimes;
use super::error::ScheduleError;
use super::interval::{Interval, check_range};
use super::job::ScheduledJob;
use super::times::Times;
use crate::job::JobId;
use crate::job_store::NewJob;

/// The longest jitter of a schedule, one day.
pub const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

/// When a schedule fires and what it submits. It has exactly one of `cron`, `every` and `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleDefinition {
    /// A cron pattern of five or six fields, or an alias such as `@daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time between two firings.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_seconds",
        deserialize_with = "units::deserialize_duration"
    )]
    pub every: Option<Duration>,
    /// The only time, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "deserialize_at")]
    pub at: Option<Timestamp>,
    /// The IANA name of the time zone of `cron`; UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// A job starts at a random time up to this long after its time; 0 by default. The times of the schedule do not change.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_seconds",
        deserialize_with = "units::deserialize_duration"
    )]
    pub jitter: Option<Duration>,
    pub job: ScheduledJob,
}

/// A checked definition. It fires at least once, unless it is for one time and that has passed.
#[derive(Clone, Debug)]
pub struct Schedule {
    definition: ScheduleDefinition,
    times: Times,
    stdin: Bytes,
}

impl ScheduleDefinition {
    /// Reads a definition from the text of JSON.
    ///
    /// # Errors
    /// [`ScheduleError::Structure`] names the field, what is wrong with it, and where.
    pub fn from_slice(text: &[u8]) -> Result<Self, ScheduleError> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let definition = serde_path_to_error::deserialize(&mut deserializer);
        let definition = definition.map_err(|error| ScheduleError::Structure(error.to_string()))?;
        deserializer.end().map_err(|error| ScheduleError::Structure(error.to_string()))?;
        Ok(definition)
    }

    /// Reads a definition from JSON.
    ///
    /// # Errors
    /// [`ScheduleError::Structure`] names the field and what is wrong with it.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, ScheduleError> {
        serde_path_to_error::deserialize(json).map_err(|error| ScheduleError::Structure(error.to_string()))
    }

    /// Returns the definition as JSON, with its defaults.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the keys of all maps in a definition are texts")
    }

    fn times(&self) -> Result<Times, ScheduleError> {
        let set = [("cron", self.cron.is_some()), ("every", self.every.is_some()), ("at", self.at.is_some())];
        let mut set = set.into_iter().filter_map(|(field, is_set)| is_set.then_some(field));
        if let (Some(first), Some(second)) = (set.next(), set.next()) {
            return Err(ScheduleError::SeveralTimes(first, second));
        }
        if self.cron.is_none() && self.time_zone.is_some() {
            return Err(ScheduleError::UnusedTimeZone);
        }
        match (&self.cron, self.every, self.at) {
            (Some(pattern), ..) => {
                CronTimes::new(pattern, self.time_zone.as_deref()).map(|times| Times::Cron(Box::new(times)))
            }
            (_, Some(every), _) => Interval::new(every).map(Times::Every),
            (.., Some(at)) => Ok(Times::At(Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at))),
            (None, None, None) => Err(ScheduleError::NoTimes),
        }
    }
}

impl Schedule {
    /// Checks `definition`.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field and what is wrong with it.
    pub fn new(definition: ScheduleDefinition) -> Result<Self, ScheduleError> {
        if let Some(jitter) = definition.jitter {
            check_range("jitter", jitter, Duration::ZERO, MAX_JITTER)?;
        }
        let (times, stdin) = (definition.times()?, definition.job.check()?);
        Ok(Self { definition, times, stdin })
    }

    /// Returns the definition.
    pub fn definition(&self) -> &ScheduleDefinition {
        &self.definition
    }

    /// Returns whether `other` has the same times.
    pub fn has_times_of(&self, other: &Self) -> bool {
        let times = |schedule: &Self| {
            let definition = &schedule.definition;
            (definition.cron.clone(), definition.every, definition.at, definition.time_zone.clone())
        };
        times(self) == times(other)
    }

    /// Returns the first time after `time`, or `None` if there is none.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.times.next_after(time)
    }

    /// Returns the first `count` times after `from`.
    pub fn upcoming(&self, from: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(from), |time| self.next_after(*time)).take(count).collect()
    }

    /// Returns the times for which the schedule fires at `now`, the first one first. `due` is the first of those that have passed.
    pub fn due_times(&self, due: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        catch_up::due_times(&self.times, self.definition.catch_up, due, now)
    }

    /// Returns the job with `id` that the schedule, which has this name, submits for the time `at`.
    pub fn new_job(&self, id: JobId, name: &str, at: Timestamp) -> NewJob {
        self.definition.job.to_new_job(id, name, at, self.stdin.clone())
    }

    /// Returns when a job that is submitted at `now` for the time `at` may start: a part `random`, from 0 to 1, of the jitter later. `None`
    /// without jitter.
    pub fn not_before(&self, at: Timestamp, now: Timestamp, random: f64) -> Option<Timestamp> {
        let jitter = self.definition.jitter.filter(|jitter| !jitter.is_zero())?;
        at.max(now).checked_add(jitter.mul_f64(random.clamp(0.0, 1.0))).ok()
    }
}

fn serialize_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

fn deserialize_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let failed = |_| {
        let text: String = text.chars().take(100).collect();
        serde::de::Error::custom(format_args!("{text:?} is not a time such as 2030-01-31T12:00:00Z"))
    };
    text.parse().map(Some).map_err(failed)
}
