//! The job log: writes one line when a job starts and one when it ends.
//!
//! The lines are those of the ancestor, `+job name(a, b)` and `-job name(a, b) = OK (0)`. The id, the parent and the duration are fields of
//! the lines, so that jobs of the same name can be told apart.

use std::fmt::{self, Write as _};

use capstan_core::outcome::Outcome;

use crate::job::{Job, JobEnd};

pub(super) fn log_start(job: &Job) {
    let parent = job.parent().map(tracing::field::display);
    let caller = job.spec().caller.as_ref().map(tracing::field::display);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, caller, "+job {}", CallText(job));
}

pub(super) fn log_end(job: &Job, end: &JobEnd) {
    let parent = job.parent().map(tracing::field::display);
    let (seconds, outcome) = (end.usage.run_seconds, &end.outcome);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, seconds, %outcome, "-job {} = {}", CallText(job), Status(outcome));
}

/// The name of a job's handler and its arguments.
struct CallText<'a>(&'a Job);

impl fmt::Display for CallText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}(", self.0.name())?;
        for (index, arg) in self.0.args().iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { ", " })?;
            write_on_one_line(formatter, arg)?;
        }
        formatter.write_char(')')
    }
}

/// Writes `text` with its control characters escaped, so that line breaks in an argument cannot forge a line of the log.
fn write_on_one_line(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for piece in text.split_inclusive(char::is_control) {
        let plain = piece.trim_end_matches(char::is_control);
        formatter.write_str(plain)?;
        write!(formatter, "{}", piece[plain.len()..].escape_default())?;
    }
    Ok(())
}

/// How a job ended, in the form of a process status.
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
