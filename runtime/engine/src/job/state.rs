//! [`JobState`] and [`JobEnd`]: where a job is in its life, and how it ended.

use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_core::usage::{Usage, UsageReport};
use jiff::Timestamp;

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    Created,
    Queued,
    Running,
    Done(Arc<JobEnd>),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEnd {
    pub outcome: Outcome,
    /// Why the job was no success, in one line. If the guest ended by itself, it is the last line that it wrote to stderr.
    pub error: Option<Box<str>>,
    pub at: Timestamp,
    pub usage: UsageReport,
}

impl JobState {
    /// The tokens of all states, as in JSON.
    pub const TOKENS: [&str; 4] = ["created", "queued", "running", "done"];

    /// Returns the stable token of the state, as in JSON.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done(_) => "done",
        }
    }
}

/// Returns the line that says why a job with `outcome` was no success, or `None` for a success.
pub(super) fn failure_line(outcome: &Outcome, usage: &Usage) -> Option<Box<str>> {
    let text = match outcome {
        outcome if outcome.is_success() => return None,
        Outcome::Exited { code } => {
            usage.last_stderr.last_line().unwrap_or_else(|| format!("exited with status {code}"))
        }
        // Capstan ended the job, and its reason says more than the last line of the guest.
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    Some(text.into())
}
