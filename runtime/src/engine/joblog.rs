//! The job log: one line when a job starts and one when it ends.
//!
//! The lines are those of the ancestor, `+job name(a, b)` and `-job name(a, b) = OK (0)`; id, parent and duration stand beside them
//! as fields, so that two jobs of one name can be told apart.

use crate::job::{End, Job};
use crate::outcome::Outcome;

pub(crate) fn started(job: &Job) {
    let parent = job.parent().map(tracing::field::display);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, "+job {}", call(job));
}

pub(crate) fn ended(job: &Job, end: &End) {
    let parent = job.parent().map(tracing::field::display);
    let seconds = end.usage.run_seconds;
    let status = status(&end.outcome);
    tracing::info!(target: "capstan::job", id = %job.id(), parent, seconds, outcome = %end.outcome, "-job {} = {status}", call(job));
}

fn call(job: &Job) -> String {
    // An argument may hold line breaks and escape sequences; a log line stays one line.
    let args = job.args().join(", ");
    let args: String = args.chars().flat_map(escaped).collect();
    format!("{}({args})", job.name())
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let (plain, escape) =
        if character.is_control() { (None, Some(character.escape_default())) } else { (Some(character), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

fn status(outcome: &Outcome) -> String {
    if outcome.is_success() { "OK (0)".to_owned() } else { format!("ERR ({})", outcome.exit_code()) }
}
