//! The job log: writes one line when a job starts and one when it ends.
//!
//! The lines are those of the ancestor, `+job name(a, b)` and `-job name(a, b) = OK (0)`. The id, the parent and the duration are fields of
//! the lines, so that jobs of the same name can be told apart. They are part of the text of the line, because each field of an event takes as
//! long to format as all of the text.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use capstan_core::outcome::Outcome;
use tracing::Level;

use crate::job::{Job, JobEnd};

/// Bytes of memory that each thread keeps for the text of the next line.
const MAX_RETAINED: usize = 4 << 10;

pub(super) fn log_start(job: &Job) {
    if tracing::enabled!(target: "capstan::job", Level::INFO) {
        with_text(&StartLine(job), |text| tracing::info!(target: "capstan::job", "{text}"));
    }
}

pub(super) fn log_end(job: &Job, end: &JobEnd) {
    if tracing::enabled!(target: "capstan::job", Level::INFO) {
        with_text(&EndLine(job, end), |text| tracing::info!(target: "capstan::job", "{text}"));
    }
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `log` with the text of a line. The text is made here, because the parts of a message take longer to write within an event. It has no
/// control characters.
fn with_text(line: &impl fmt::Display, log: impl FnOnce(&str)) {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write!(text, "{line}").expect("a text takes everything");
        log(text);
        text.shrink_to(MAX_RETAINED);
    });
}

struct StartLine<'a>(&'a Job);

struct EndLine<'a>(&'a Job, &'a JobEnd);

impl fmt::Display for StartLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("+job ")?;
        CallText(self.0).fmt(formatter)?;
        Identity(self.0).fmt(formatter)?;
        match &self.0.spec().caller {
            None => Ok(()),
            Some(caller) => write!(OneLine(formatter), " caller={caller}"),
        }
    }
}

impl fmt::Display for EndLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(job, end) = self;
        formatter.write_str("-job ")?;
        CallText(job).fmt(formatter)?;
        formatter.write_str(" = ")?;
        Status(&end.outcome).fmt(formatter)?;
        Identity(job).fmt(formatter)?;
        write!(formatter, " seconds={:?}", end.usage.run_seconds)?;
        write!(OneLine(formatter), " outcome={}", end.outcome)
    }
}

/// The fields that say which job a line is about.
struct Identity<'a>(&'a Job);

impl fmt::Display for Identity<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(" id=")?;
        self.0.id().fmt(formatter)?;
        match self.0.parent() {
            None => Ok(()),
            Some(parent) => {
                formatter.write_str(" parent=")?;
                parent.fmt(formatter)
            }
        }
    }
}

/// The name of a job's handler and its arguments.
struct CallText<'a>(&'a Job);

impl fmt::Display for CallText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}(", self.0.name())?;
        for (index, arg) in self.0.args().iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { ", " })?;
            OneLine(formatter).write_str(arg)?;
        }
        formatter.write_char(')')
    }
}

/// Writes text with its control characters escaped, so that line breaks in it cannot forge a line of the log.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let plain = piece.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            if plain.len() < piece.len() {
                write!(self.0, "{}", piece[plain.len()..].escape_default())?;
            }
        }
        Ok(())
    }
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
