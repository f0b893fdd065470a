//! The text of a result, and how it gets to stdout.

use std::fmt::{self, Display, Write};
use std::future::poll_fn;

use wasmtime::Result;
use wasmtime_wasi::p2::StreamError;

use crate::stdio::Stdout;

/// The most bytes of the text of a result. Its values were limited too, but text may be longer.
const MAX_RESULT: usize = 256 << 20;

/// A string that stops growing at [`MAX_RESULT`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_RESULT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Returns a result as a line of text.
///
/// # Errors
/// If it has no form in WAVE, or is too long.
pub(super) fn line(result: &impl Display) -> Result<String> {
    let mut text = Bounded(String::new());
    writeln!(text, "{result}")
        .map_err(|_| wasmtime::format_err!("the result of the invoked function has no form in WAVE, or is too long"))?;
    Ok(text.0)
}

/// Writes `text` to stdout, where it counts as output of the guest. Cancel-safe.
///
/// # Errors
/// If the limit on stdout is reached. Nobody who reads stdout is no error.
pub(super) async fn write(stdout: &Stdout, text: &str) -> Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match poll_fn(|cx| stdout.poll_write_some(cx, rest)).await {
            Ok(written) => rest = &rest[written..],
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::Trap(error) | StreamError::LastOperationFailed(error)) => return Err(error),
        }
    }
    Ok(())
}
