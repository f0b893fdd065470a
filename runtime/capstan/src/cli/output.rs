//! The output of the command itself: results on stdout, errors and notes on stderr.

use std::fmt;
use std::io::{self, Write as _};

use capstan_core::outcome::OutputStream;
use serde_json::Value;

use super::error::CliError;
use super::format;

/// Writes a result to stdout and flushes it.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(output_error(OutputStream::Stdout))
}

/// Writes a result to stdout as indented JSON.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_json(value: &Value) -> Result<(), CliError> {
    print(format!("{value:#}\n").as_bytes())
}

/// Writes a result to stdout, as JSON or as a table of two columns.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_fields(value: &Value, json: bool) -> Result<(), CliError> {
    if json { print_json(value) } else { print(format::fields(value).as_bytes()) }
}

/// Writes `capstan: MESSAGE` to stderr.
pub(super) fn print_error(message: impl fmt::Display) {
    print_note(format_args!("capstan: {message}"));
}

/// Writes a line to stderr.
pub(super) fn print_note(message: impl fmt::Display) {
    // If stderr cannot be written, there is no other place to report that.
    let _ = writeln!(io::stderr(), "{message}");
}

/// Returns a closure for `map_err` that adds the stream to an I/O error.
pub(super) fn output_error(stream: OutputStream) -> impl Fn(io::Error) -> CliError {
    move |source| CliError::Output { stream, source }
}
