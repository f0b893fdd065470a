//! Writes the output of builtins.

use std::io;

use capstan_core::outcome::Outcome;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// The exit code of a builtin for wrong usage. Any other failure has exit code 1.
pub(super) const WRONG_USAGE: u8 = 125;

/// Writes `text`, and returns the outcome that the job has then.
pub(super) async fn print(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Outcome {
    match stream.write_all(text.as_bytes()).await {
        Ok(()) => Outcome::SUCCESS,
        // A process would end like this after SIGPIPE.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Exited { code: 1 },
        Err(error) => Outcome::HostError { message: error.to_string() },
    }
}
