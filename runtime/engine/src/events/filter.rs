//! [`Filter`]: selects events by kind, handler, job and outcome.

use capstan_core::outcome::Outcome;

use super::kind::{Event, EventKind};
use crate::job::JobId;

/// Selects events. For each key that has conditions, an event must meet one of them. Without conditions, all events match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    kinds: Vec<String>,
    handlers: Vec<String>,
    jobs: Vec<JobId>,
    outcomes: Vec<String>,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0:?} is not of the form KEY=VALUE")]
    NoValue(String),
    #[error("{0:?} is not a filter key; the keys are event, handler, job and outcome")]
    UnknownKey(String),
    #[error("{value:?} is not {expected}")]
    BadValue { value: String, expected: String },
}

impl Filter {
    /// Adds a condition of the form `KEY=VALUE`.
    ///
    /// # Errors
    /// Returns [`FilterError`] if the key is unknown or no event can have the value.
    pub fn add(&mut self, text: &str) -> Result<(), FilterError> {
        let (key, value) = text.split_once('=').ok_or_else(|| FilterError::NoValue(text.to_owned()))?;
        let token = |tokens: &[&str]| {
            let bad =
                || FilterError::BadValue { value: value.to_owned(), expected: format!("one of {}", tokens.join(", ")) };
            if tokens.contains(&value) { Ok(value.to_owned()) } else { Err(bad()) }
        };
        match key {
            "event" => self.kinds.push(token(&EventKind::TOKENS)?),
            "outcome" => self.outcomes.push(token(&Outcome::KINDS)?),
            "handler" => self.handlers.push(value.to_owned()),
            "job" => {
                let bad = |_| FilterError::BadValue { value: value.to_owned(), expected: "the id of a job".to_owned() };
                self.jobs.push(value.parse().map_err(bad)?);
            }
            _ => return Err(FilterError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    /// Returns whether `event` meets the conditions.
    pub fn matches(&self, event: &Event) -> bool {
        let meets_one = |conditions: &[String], value: Option<&str>| {
            conditions.is_empty() || value.is_some_and(|value| conditions.iter().any(|condition| condition == value))
        };
        meets_one(&self.kinds, Some(event.kind.token()))
            && meets_one(&self.handlers, event.kind.handler())
            && meets_one(&self.outcomes, event.kind.outcome())
            && (self.jobs.is_empty() || event.kind.job().is_some_and(|job| self.jobs.contains(&job)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    const JOB: &str = "00ff00ff00ff00ff00ff00ff00ff00ff";

    fn filter(conditions: &[&str]) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        conditions.iter().try_for_each(|condition| filter.add(condition))?;
        Ok(filter)
    }

    fn matched(conditions: &[&str]) -> Vec<&'static str> {
        let filter = filter(conditions).unwrap();
        let job: JobId = JOB.parse().unwrap();
        let all = [
            EventKind::HandlerPut { handler: "a".into(), digest: None, replaced: false },
            EventKind::HandlerRemove { handler: "b".into() },
            EventKind::JobQueue { job, handler: "a".into() },
            EventKind::JobStart { job, handler: "a".into(), parent: None },
            EventKind::JobRetry { job, handler: "a".into(), attempt: 1 },
            EventKind::JobEnd { job, handler: "a".into(), outcome: "exited".into(), exit_code: 0 },
            EventKind::DaemonReload { error: None },
            EventKind::DaemonStop,
        ];
        let matches =
            |kind: &EventKind| filter.matches(&Event { seq: 1, at: Timestamp::UNIX_EPOCH, kind: kind.clone() });
        all.iter().filter(|kind| matches(kind)).map(EventKind::token).collect()
    }

    #[test]
    fn filter_matches_one_value_of_each_key() {
        assert_eq!(matched(&[]), EventKind::TOKENS);
        assert_eq!(matched(&["event=job.end"]), ["job.end"]);
        assert_eq!(matched(&["event=job.end", "event=handler.put"]), ["handler.put", "job.end"]);
        assert_eq!(matched(&["handler=a"]), ["handler.put", "job.queue", "job.start", "job.retry", "job.end"]);
        assert_eq!(matched(&["handler=a", "event=handler.remove"]), [""; 0]);
        assert_eq!(matched(&["handler=b", "handler=c"]), ["handler.remove"]);
        assert_eq!(matched(&[&format!("job={JOB}")]), ["job.queue", "job.start", "job.retry", "job.end"]);
        assert_eq!(matched(&["event=daemon.stop", "event=job.queue"]), ["job.queue", "daemon.stop"]);
        assert_eq!(matched(&["outcome=exited"]), ["job.end"]);
        assert_eq!(matched(&["outcome=lost"]), [""; 0]);
    }

    #[test]
    fn invalid_condition_error_names_the_fault() {
        for (condition, named) in [
            ("job.end", "job.end"),
            ("", "KEY=VALUE"),
            ("evnet=job.end", "\"evnet\" is not a filter key; the keys are event, handler, job and outcome"),
            ("event=job.ended", "handler.put"),
            ("job=1", "id of a job"),
            ("outcome=ok", "exited"),
        ] {
            let error = filter(&[condition]).unwrap_err().to_string();
            assert!(error.contains(named), "{condition}: {error}");
        }
    }
}
