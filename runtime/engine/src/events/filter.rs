//! `Filter`: which events somebody wants. Of one key any value may match, and every key that is there must.

use capstan_core::outcome::Outcome;

use super::{Event, EventKind};
use crate::job::JobId;

/// Which events to let through; without a wish, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    events: Vec<String>,
    handlers: Vec<String>,
    jobs: Vec<JobId>,
    outcomes: Vec<String>,
}

/// Why a text is no wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0:?} is not of the form KEY=VALUE")]
    NoValue(String),
    #[error("{0:?} is no key of a filter; event, handler, job and outcome are")]
    UnknownKey(String),
    #[error("{value:?} is not {expected}")]
    BadValue { value: String, expected: String },
}

impl EventKind {
    /// The tokens of all kinds.
    pub const KINDS: [&str; 7] =
        ["handler.put", "handler.remove", "job.queue", "job.start", "job.end", "daemon.reload", "daemon.stop"];

    /// The token of its kind, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HandlerPut { .. } => "handler.put",
            Self::HandlerRemove { .. } => "handler.remove",
            Self::JobQueue { .. } => "job.queue",
            Self::JobStart { .. } => "job.start",
            Self::JobEnd { .. } => "job.end",
            Self::DaemonReload { .. } => "daemon.reload",
            Self::DaemonStop => "daemon.stop",
        }
    }

    /// The handler that it is about.
    pub fn handler(&self) -> Option<&str> {
        match self {
            Self::HandlerPut { handler, .. }
            | Self::HandlerRemove { handler }
            | Self::JobQueue { handler, .. }
            | Self::JobStart { handler, .. }
            | Self::JobEnd { handler, .. } => Some(handler),
            Self::DaemonReload { .. } | Self::DaemonStop => None,
        }
    }

    /// The job that it is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::JobQueue { job, .. } | Self::JobStart { job, .. } | Self::JobEnd { job, .. } => Some(*job),
            Self::HandlerPut { .. } | Self::HandlerRemove { .. } | Self::DaemonReload { .. } | Self::DaemonStop => None,
        }
    }

    /// The kind of the outcome that it tells.
    pub fn outcome(&self) -> Option<&str> {
        match self {
            Self::JobEnd { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

impl Filter {
    /// Adds a wish in the form `KEY=VALUE`.
    ///
    /// # Errors
    /// [`FilterError`] for a key that is not known and a value that nothing has.
    pub fn add(&mut self, text: &str) -> Result<(), FilterError> {
        let (key, value) = text.split_once('=').ok_or_else(|| FilterError::NoValue(text.to_owned()))?;
        let token = |tokens: &[&str]| {
            let bad =
                || FilterError::BadValue { value: value.to_owned(), expected: format!("one of {}", tokens.join(", ")) };
            if tokens.contains(&value) { Ok(value.to_owned()) } else { Err(bad()) }
        };
        match key {
            "event" => self.events.push(token(&EventKind::KINDS)?),
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

    /// Whether it lets `event` through.
    pub fn matches(&self, event: &Event) -> bool {
        let any = |wishes: &[String], value: Option<&str>| {
            wishes.is_empty() || value.is_some_and(|value| wishes.iter().any(|wish| wish == value))
        };
        any(&self.events, Some(event.what.kind()))
            && any(&self.handlers, event.what.handler())
            && any(&self.outcomes, event.what.outcome())
            && (self.jobs.is_empty() || event.what.job().is_some_and(|job| self.jobs.contains(&job)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    const JOB: &str = "00ff00ff00ff00ff00ff00ff00ff00ff";

    fn filter(wishes: &[&str]) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        wishes.iter().try_for_each(|wish| filter.add(wish))?;
        Ok(filter)
    }

    fn matched(wishes: &[&str]) -> Vec<&'static str> {
        let filter = filter(wishes).unwrap();
        let job: JobId = JOB.parse().unwrap();
        let all = [
            EventKind::HandlerPut { handler: "a".into(), digest: None, replaced: false },
            EventKind::HandlerRemove { handler: "b".into() },
            EventKind::JobQueue { job, handler: "a".into() },
            EventKind::JobStart { job, handler: "a".into(), parent: None },
            EventKind::JobEnd { job, handler: "a".into(), outcome: "exited".into(), exit_code: 0 },
            EventKind::DaemonReload { error: None },
            EventKind::DaemonStop,
        ];
        let matches =
            |what: &EventKind| filter.matches(&Event { seq: 1, at: Timestamp::UNIX_EPOCH, what: what.clone() });
        all.iter().filter(|what| matches(what)).map(EventKind::kind).collect()
    }

    #[test]
    fn one_value_of_each_key_must_match() {
        assert_eq!(matched(&[]), EventKind::KINDS);
        assert_eq!(matched(&["event=job.end"]), ["job.end"]);
        assert_eq!(matched(&["event=job.end", "event=handler.put"]), ["handler.put", "job.end"]);
        assert_eq!(matched(&["handler=a"]), ["handler.put", "job.queue", "job.start", "job.end"]);
        assert_eq!(matched(&["handler=a", "event=handler.remove"]), [""; 0]);
        assert_eq!(matched(&["handler=b", "handler=c"]), ["handler.remove"]);
        assert_eq!(matched(&[&format!("job={JOB}")]), ["job.queue", "job.start", "job.end"]);
        assert_eq!(matched(&["event=daemon.stop", "event=job.queue"]), ["job.queue", "daemon.stop"]);
        assert_eq!(matched(&["outcome=exited"]), ["job.end"]);
        assert_eq!(matched(&["outcome=lost"]), [""; 0]);
    }

    #[test]
    fn what_is_no_wish_is_named() {
        for (wish, named) in [
            ("job.end", "job.end"),
            ("", "KEY=VALUE"),
            ("evnet=job.end", "\"evnet\" is no key of a filter; event, handler, job and outcome are"),
            ("event=job.ended", "handler.put"),
            ("job=1", "id of a job"),
            ("outcome=ok", "exited"),
        ] {
            let error = filter(&[wish]).unwrap_err().to_string();
            assert!(error.contains(named), "{wish}: {error}");
        }
    }
}
