//! The job log: one line when a job starts and one when it ends.
//!
//! The lines are those of the ancestor, `+job name(a, b)` and `-job name(a, b) = OK (0)`; id, parent and duration stand beside them
//! as fields, so that two jobs of one name can be told apart.

use std::fmt::{self, Write as _};

use capstan_core::outcome::Outcome;

use crate::job::{End, Job};

pub(crate) fn started(job: &Job) {
    let parent = job.parent().map(tracing::field::display);
    let caller = job.spec().caller.as_ref().map(tracing::field::display);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, caller, "+job {}", Called(job));
}

pub(crate) fn ended(job: &Job, end: &End) {
    let parent = job.parent().map(tracing::field::display);
    let (seconds, outcome) = (end.usage.run_seconds, &end.outcome);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, seconds, %outcome, "-job {} = {}", Called(job), Status(outcome));
}

/// The name of a job's handler and its arguments.
struct Called<'a>(&'a Job);

impl fmt::Display for Called<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}(", self.0.name())?;
        for (at, arg) in self.0.args().iter().enumerate() {
            formatter.write_str(if at == 0 { "" } else { ", " })?;
            on_one_line(formatter, arg)?;
        }
        formatter.write_char(')')
    }
}

/// Writes `text` without its line breaks and escape sequences: a log line stays one line.
fn on_one_line(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for piece in text.split_inclusive(char::is_control) {
        let plain = piece.trim_end_matches(char::is_control);
        formatter.write_str(plain)?;
        write!(formatter, "{}", piece[plain.len()..].escape_default())?;
    }
    Ok(())
}

/// How a job ended, as a process would tell it.
struct Status<'a>(&'a Outcome);

impl fmt::Display for Status<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_success() {
            formatter.write_str("OK (0)")
        } else {
            write!(formatter, "ERR ({})", self.0.exit_code())
        }
    }
}
