//! The reports of `capstan store`, as text and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use capstan_store::data::DataCheck;
use capstan_store::jobs::{CheckReport, CopyReport, Problem, VacuumReport};
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::exit_code::DAMAGED;
use crate::cli::{format, output};

/// Prints what a check found. Returns the exit code of the command.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_check(report: &CheckReport, kept: Option<&DataCheck>, json: bool) -> Result<ExitCode, CliError> {
    if json {
        output::print_json(&with_data(check_json(report), kept))?;
    } else {
        let mut text = String::new();
        if let Some(version) = report.version {
            let [jobs, attempts] = [count(report.jobs, "job"), count(report.attempts, "attempt")];
            let chunks = count(report.chunks, "chunk");
            let _ = writeln!(text, "schema version {version}, {jobs}, {attempts}, {chunks} of output");
        }
        text += &problems(report);
        text += &data_text(kept);
        output::print(text.as_bytes())?;
    }
    Ok(exit_code(report, kept))
}

/// Prints what was backed up to `target`. Returns the exit code of the command.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_backup(
    report: &CopyReport,
    kept: Option<&DataCheck>,
    target: &Path,
    json: bool,
) -> Result<ExitCode, CliError> {
    if json {
        output::print_json(&with_data(copy_json(report), kept))?;
    } else {
        let mut text = format!("backed up {} to {}\n", copied(report), target.display());
        text += &problems(&report.check);
        if !report.check.problems.is_empty() {
            text += "the damage of the store is in the backup too; restore it with --accept-damage\n";
        }
        text += &data_text(kept);
        output::print(text.as_bytes())?;
    }
    Ok(exit_code(&report.check, kept))
}

/// Prints what was restored below `data`. Returns the exit code of the command.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_restore(
    report: &CopyReport,
    kept: Option<&DataCheck>,
    data: &Path,
    json: bool,
) -> Result<ExitCode, CliError> {
    if json {
        output::print_json(&with_data(copy_json(report), kept))?;
    } else {
        let found = problems(&report.check) + &data_text(kept);
        let text = format!("restored {} to {}\n{found}", copied(report), data.display());
        output::print(text.as_bytes())?;
    }
    Ok(exit_code(&report.check, kept))
}

/// Prints what a vacuum did. Returns the exit code of the command.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_vacuum(report: VacuumReport, json: bool) -> Result<ExitCode, CliError> {
    let VacuumReport { before, after, moved, damaged } = report;
    if json {
        output::print_json(&json!({"before": before, "after": after, "moved": moved, "damaged": damaged}))?;
    } else {
        let size = |bytes| format!("{} ({bytes} bytes)", format::size(bytes));
        let mut text = format!("before: {}\nafter: {}\n", size(before), size(after));
        if damaged > 0 {
            let records = count(damaged, "record");
            let _ = writeln!(text, "{records} of output could not be read, and will be shown as missing");
        }
        output::print(text.as_bytes())?;
    }
    Ok(if damaged > 0 { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS })
}

fn exit_code(report: &CheckReport, kept: Option<&DataCheck>) -> ExitCode {
    let is_damaged = !report.problems.is_empty() || kept.is_some_and(|kept| !kept.problems.is_empty());
    if !is_damaged { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

/// Formats what handlers keep, and what is damaged of it.
fn data_text(kept: Option<&DataCheck>) -> String {
    let Some(DataCheck { keys, objects, problems }) = kept else { return String::new() };
    let mut text = format!("{} and {} of handlers", count(*keys, "key"), count(*objects, "object"));
    if problems.is_empty() {
        return text + ": nothing is damaged\n";
    }
    text.push('\n');
    for problem in problems {
        let _ = writeln!(text, "{}; restore a backup", problem.replace('\n', " "));
    }
    text
}

/// Adds what handlers keep to a report in JSON.
fn with_data(mut report: Value, kept: Option<&DataCheck>) -> Value {
    if let Some(DataCheck { keys, objects, problems }) = kept {
        report["data"] = json!({"keys": keys, "objects": objects, "problems": problems});
    }
    report
}

/// Formats each problem in one line, and how many there are.
fn problems(report: &CheckReport) -> String {
    if report.problems.is_empty() {
        return "nothing is damaged\n".to_owned();
    }
    let mut text = String::new();
    for problem in &report.problems {
        let Problem { kind, what, reason } = problem;
        // SQLite reports some problems in several lines.
        let _ = writeln!(text, "{what}: {}; {}", reason.replace('\n', " "), kind.advice());
    }
    let listed = report.problems.len() as u64;
    text += &count(listed + report.more_problems, "problem");
    if report.more_problems > 0 {
        let _ = write!(text, ", of which {listed} are listed");
    }
    text + "\n"
}

fn copied(report: &CopyReport) -> String {
    format!("{}, {},", count(report.check.jobs, "job"), format::size(report.bytes))
}

/// Formats a number with its noun: `1 job`, `2 jobs`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn check_json(report: &CheckReport) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "kind": problem.kind.name(),
            "what": problem.what,
            "reason": problem.reason,
            "advice": problem.kind.advice(),
        })
    };
    json!({
        "version": report.version,
        "jobs": report.jobs,
        "attempts": report.attempts,
        "chunks": report.chunks,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "more_problems": report.more_problems,
    })
}

fn copy_json(report: &CopyReport) -> Value {
    json!({"bytes": report.bytes, "segments": report.segments, "check": check_json(&report.check)})
}
