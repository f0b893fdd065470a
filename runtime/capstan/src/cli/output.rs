//! What the command itself writes: results to stdout, complaints to stderr.

use std::fmt;
use std::io::{self, Write as _};

use capstan_core::outcome::OutputStream;
use capstan_core::stream::PIPE_CAPACITY;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::CliError;

/// Writes a result to stdout.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(to(OutputStream::Stdout))
}

/// Writes a result to stdout as JSON for people and programs.
///
/// # Errors
/// [`CliError::Output`]
pub(super) fn print_json(value: &Value) -> Result<(), CliError> {
    print(format!("{value:#}\n").as_bytes())
}

/// Says on stderr what went wrong.
pub(super) fn complain(what: impl fmt::Display) {
    note(format_args!("capstan: {what}"));
}

/// Says something on stderr.
pub(super) fn note(what: impl fmt::Display) {
    // Where nobody reads stderr, there is nobody to tell that either.
    let _ = writeln!(io::stderr(), "{what}");
}

/// Hands a stream of the guest on as it comes, until its end.
///
/// # Errors
/// What `output` says.
pub(super) async fn forward<R, W>(mut source: R, mut output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buf = Vec::with_capacity(PIPE_CAPACITY);
    while source.read_buf(&mut buf).await? != 0 {
        pass_on(&mut output, &buf).await?;
        buf.clear();
    }
    Ok(())
}

/// Writes some of a guest's output at once.
///
/// # Errors
/// What `output` says.
pub(super) async fn pass_on(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes).await?;
    output.flush().await
}

/// For `map_err`: the system's complaint with the stream that it is about.
pub(super) fn to(stream: OutputStream) -> impl Fn(io::Error) -> CliError {
    move |source| CliError::Output { stream, source }
}
