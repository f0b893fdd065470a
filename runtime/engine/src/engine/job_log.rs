//! The job log: writes one line when a job starts and one when it ends.
//!
//! The lines are those of the ancestor, `+job name(a, b)` and `-job name(a, b) = OK (0)`. The id, the parent and the duration are fields of
//! the lines, so that jobs of the same name can be told apart. They are part of the text of the line, because each field of an event takes as
//! long to format as all of the text.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::Level;

use crate::job::{Job, JobEnd, JobId};

/// Bytes of memory that each thread keeps for the text of the next line.
const MAX_RETAINED: usize = 4 << 10;

pub(super) fn log_start(job: &Job) {
    if tracing::enabled!(target: "capstan::job", Level::INFO) {
        with_text(|text| write_start(text, job), |text| tracing::info!(target: "capstan::job", "{text}"));
    }
}

pub(super) fn log_end(job: &Job, end: &JobEnd) {
    if tracing::enabled!(target: "capstan::job", Level::INFO) {
        with_text(|text| write_end(text, job, end), |text| tracing::info!(target: "capstan::job", "{text}"));
    }
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `log` with the text that `write` writes. The text is made here and without a formatter where that is possible, because each piece of
/// a formatted message takes as long as all of the text. It has no control characters.
fn with_text(write: impl FnOnce(&mut String) -> fmt::Result, log: impl FnOnce(&str)) {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write(text).expect("a text takes everything");
        log(text);
        text.shrink_to(MAX_RETAINED);
    });
}

fn write_start(text: &mut String, job: &Job) -> fmt::Result {
    text.push_str("+job ");
    push_call(text, job);
    push_identity(text, job);
    if let Some(caller) = &job.spec().caller {
        text.push_str(" caller=");
        write!(OneLine(text), "{caller}")?;
    }
    Ok(())
}

fn write_end(text: &mut String, job: &Job, end: &JobEnd) -> fmt::Result {
    text.push_str("-job ");
    push_call(text, job);
    // How the job ended, in the form of a process status.
    if end.outcome.is_success() {
        text.push_str(" = OK (0)");
    } else {
        write!(text, " = ERR ({})", end.outcome.exit_code())?;
    }
    push_identity(text, job);
    write!(text, " seconds={:?}", end.usage.run_seconds)?;
    text.push_str(" outcome=");
    write!(OneLine(text), "{}", end.outcome)
}

/// Appends the fields that say which job a line is about.
fn push_identity(text: &mut String, job: &Job) {
    text.push_str(" id=");
    push_id(text, job.id());
    if let Some(parent) = job.parent() {
        text.push_str(" parent=");
        push_id(text, parent);
    }
}

fn push_id(text: &mut String, id: JobId) {
    text.push_str(std::str::from_utf8(&id.to_hex()).expect("hexadecimal digits are text"));
}

/// Appends the name of a job's handler and its arguments.
fn push_call(text: &mut String, job: &Job) {
    text.push_str(job.name());
    text.push('(');
    for (index, arg) in job.args().iter().enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        push_one_line(text, arg);
    }
    text.push(')');
}

/// Writes text with its control characters escaped.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        push_one_line(self.0, piece);
        Ok(())
    }
}

/// Appends `piece` with its control characters escaped, so that line breaks in it cannot forge a line of the log.
fn push_one_line(text: &mut String, piece: &str) {
    if piece.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.push_str(piece);
    }
    for letter in piece.chars() {
        if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
    }
}
