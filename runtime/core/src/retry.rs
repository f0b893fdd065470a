//! [`RetryPolicy`]: which runs are repeated, how often, and after how long.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::units::{self, DurationSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest number of attempts that a policy can ask for.
pub const MAX_ATTEMPTS: u32 = 1000;

/// Which runs of a job are repeated. The default repeats none, except for runs that were lost with the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Runs in total, the first included; 1 by default. Lost runs do not count.
    pub attempts: u32,
    pub backoff: Backoff,
    /// Time before the first repetition; 1 second by default.
    #[serde(serialize_with = "serialize_seconds", deserialize_with = "deserialize_seconds")]
    #[schemars(with = "DurationSchema")]
    pub base: Duration,
    /// The longest time before a repetition; 1 hour by default.
    #[serde(serialize_with = "serialize_seconds", deserialize_with = "deserialize_seconds")]
    #[schemars(with = "DurationSchema")]
    pub max: Duration,
    /// The part of the time that is random, from 0 to 1; 0.1 by default. Jobs that failed together then do not return together.
    pub jitter: f64,
    /// What is repeated: kinds of outcomes and exit codes. Empty, the default, stands for every failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<RetryOn>,
    /// Exit codes that are never repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permanent: Vec<u8>,
    /// Runs that may be lost with a daemon and are repeated; 3 by default. A job that loses more may be what ends the daemon.
    pub lost: u32,
}

/// How the time between repetitions grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// It doubles: base, 2 · base, 4 · base.
    #[default]
    Exponential,
    /// It stays the same.
    Constant,
}

/// An outcome that is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetryOn {
    /// An exit code.
    Code(u8),
    /// The stable code of an outcome's kind, such as `timed_out`.
    Kind(String),
}

/// The runs of a job so far, since it was submitted or requeued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCount {
    /// Runs that ended in any way but lost, the last one included.
    pub ended: u32,
    /// Runs that were lost, the last one included.
    pub lost: u32,
}

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The job has ended.
    Done,
    /// The job runs again after this time.
    Retry(Duration),
    /// The job has failed although it asked for retries, or was lost too often. It becomes a dead letter.
    Dead,
}

/// Why a policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    #[error("retry.attempts is {0}, which is not from 1 to {MAX_ATTEMPTS}")]
    Attempts(u32),
    #[error("retry.jitter is {0}, which is not from 0 to 1")]
    Jitter(String),
    #[error("retry.on names the outcome {name:?}, which does not exist; use one of {}", Outcome::KINDS.join(", "))]
    Kind { name: String },
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Backoff::Exponential,
            base: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            jitter: 0.1,
            on: Vec::new(),
            permanent: Vec::new(),
            lost: 3,
        }
    }
}

impl RetryPolicy {
    /// Checks what the types alone do not exclude.
    ///
    /// # Errors
    /// [`RetryPolicyError`]
    pub fn check(&self) -> Result<(), RetryPolicyError> {
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return Err(RetryPolicyError::Attempts(self.attempts));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(RetryPolicyError::Jitter(self.jitter.to_string()));
        }
        let unknown = self.on.iter().find_map(|on| match on {
            RetryOn::Kind(kind) if !Outcome::KINDS.contains(&kind.as_str()) => Some(kind.clone()),
            RetryOn::Kind(_) | RetryOn::Code(_) => None,
        });
        unknown.map_or(Ok(()), |kind| Err(RetryPolicyError::Kind { name: kind }))
    }

    /// Returns what follows a run that ended with `outcome`. `random` is from 0 to 1 and decides about the jitter.
    pub fn decide(&self, outcome: &Outcome, count: RunCount, random: f64) -> Decision {
        match outcome {
            Outcome::Exited { code: 0 } | Outcome::Cancelled { .. } | Outcome::Refused { .. } => Decision::Done,
            Outcome::Lost if count.lost <= self.lost => Decision::Retry(self.delay(count.lost, random)),
            Outcome::Lost => Decision::Dead,
            _ if self.attempts <= 1 => Decision::Done,
            failure if count.ended < self.attempts && self.repeats(failure) => {
                Decision::Retry(self.delay(count.ended, random))
            }
            _ => Decision::Dead,
        }
    }

    /// Returns the time before repetition `number`, counted from 1.
    fn delay(&self, number: u32, random: f64) -> Duration {
        let factor = match self.backoff {
            Backoff::Constant => 1.0,
            Backoff::Exponential => 2_f64.powi(number.saturating_sub(1).min(1000).cast_signed()),
        };
        let full = (self.base.as_secs_f64() * factor).min(self.max.as_secs_f64());
        let seconds = full * (1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0));
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max)
    }

    fn repeats(&self, outcome: &Outcome) -> bool {
        let code = match outcome {
            Outcome::Exited { code } => Some(*code),
            _ => None,
        };
        let is_permanent = code.is_some_and(|code| self.permanent.contains(&code));
        let is_named = |on: &RetryOn| match on {
            RetryOn::Code(named) => code == Some(*named),
            RetryOn::Kind(kind) => kind == outcome.kind(),
        };
        !is_permanent && (self.on.is_empty() || self.on.iter().any(is_named))
    }
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn deserialize_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    units::deserialize_duration(deserializer)?.ok_or_else(|| serde::de::Error::custom("expected a duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Outcome = Outcome::Exited { code: 1 };

    fn ended(ended: u32) -> RunCount {
        RunCount { ended, lost: 0 }
    }

    #[test]
    fn exponential_delay_doubles_up_to_its_maximum() {
        let policy = RetryPolicy { attempts: 100, max: Duration::from_secs(10), jitter: 0.0, ..RetryPolicy::default() };
        let delays = [1, 2, 3, 4, 5, 99].map(|number| policy.decide(&FAILED, ended(number), 0.5));
        assert_eq!(delays, [1, 2, 4, 8, 10, 10].map(|seconds| Decision::Retry(Duration::from_secs(seconds))));
        assert_eq!(policy.decide(&FAILED, ended(100), 0.5), Decision::Dead);
    }

    #[test]
    fn jitter_only_shortens_the_delay() {
        let policy = RetryPolicy { attempts: 2, jitter: 0.5, ..RetryPolicy::default() };
        assert_eq!(policy.decide(&FAILED, ended(1), 0.0), Decision::Retry(Duration::from_secs(1)));
        assert_eq!(policy.decide(&FAILED, ended(1), 1.0), Decision::Retry(Duration::from_millis(500)));
    }

    #[test]
    fn job_without_retries_is_done_after_a_failure() {
        assert_eq!(RetryPolicy::default().decide(&FAILED, ended(1), 0.0), Decision::Done);
    }

    #[test]
    fn lost_runs_have_an_allowance_of_their_own() {
        let policy = RetryPolicy { lost: 1, jitter: 0.0, ..RetryPolicy::default() };
        let count = |lost| RunCount { ended: 0, lost };
        assert_eq!(policy.decide(&Outcome::Lost, count(1), 0.0), Decision::Retry(Duration::from_secs(1)));
        assert_eq!(policy.decide(&Outcome::Lost, count(2), 0.0), Decision::Dead);
    }

    #[test]
    fn filters_decide_which_failures_are_repeated() {
        let policy = RetryPolicy {
            attempts: 3,
            on: vec![RetryOn::Kind("timed_out".into()), RetryOn::Kind("exited".into())],
            permanent: vec![64],
            ..RetryPolicy::default()
        };
        let is_repeated = |outcome: &Outcome| matches!(policy.decide(outcome, ended(1), 0.0), Decision::Retry(_));
        assert!(is_repeated(&FAILED) && is_repeated(&Outcome::TimedOut { limit: 1.0 }));
        assert!(!is_repeated(&Outcome::Exited { code: 64 }) && !is_repeated(&Outcome::MemoryDenied { limit: 1 }));
        let codes = RetryPolicy { on: vec![RetryOn::Code(75)], ..policy };
        assert!(matches!(codes.decide(&Outcome::Exited { code: 75 }, ended(1), 0.0), Decision::Retry(_)));
        assert_eq!(codes.decide(&FAILED, ended(1), 0.0), Decision::Dead);
    }

    #[test]
    fn policy_reads_durations_as_people_write_them_and_rejects_nonsense() {
        let policy: RetryPolicy =
            serde_json::from_str(r#"{"attempts": 5, "base": "500ms", "on": ["trapped", 75], "max": 60}"#).unwrap();
        assert_eq!((policy.base, policy.max), (Duration::from_millis(500), Duration::from_secs(60)));
        assert_eq!(policy.on, [RetryOn::Kind("trapped".into()), RetryOn::Code(75)]);
        assert_eq!(policy.check(), Ok(()));
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<RetryPolicy>(&stored).unwrap(), policy);
        for text in [r#"{"base": -1}"#, r#"{"max": "never"}"#, r#"{"on": [300]}"#, r#"{"tries": 3}"#] {
            serde_json::from_str::<RetryPolicy>(text).expect_err(text);
        }
        for policy in [
            RetryPolicy { attempts: 0, ..RetryPolicy::default() },
            RetryPolicy { attempts: MAX_ATTEMPTS + 1, ..RetryPolicy::default() },
            RetryPolicy { jitter: f64::NAN, ..RetryPolicy::default() },
            RetryPolicy { jitter: 1.5, ..RetryPolicy::default() },
            RetryPolicy { on: vec![RetryOn::Kind("exploded".into())], ..RetryPolicy::default() },
        ] {
            policy.check().expect_err("the policy makes no sense");
        }
    }
}
