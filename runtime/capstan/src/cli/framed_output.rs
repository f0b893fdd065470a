//! [`write()`]: writes a framed response to stdout and stderr.

use bytes::Bytes;
use capstan_core::outcome::OutputStream;

use super::client::ClientError;
use super::error::CliError;
use super::frames::{Chunk, FrameDecoder, FrameError};
use super::stream_threads::OutputThread;

/// What to do about output that the daemon no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Say on stderr how much it is.
    Report,
    /// Fail, because the daemon keeps all output of this kind.
    Reject,
}

/// Writes the output in a response until its outcome, whose JSON is returned, or until the end of a response without one. `next` returns the
/// next bytes of the response, and must be cancel-safe.
///
/// When this returns, all output that has arrived is written, also if the response is cut.
///
/// # Errors
/// - [`CliError::Client`] for an error of `next`, and for a response that cannot be decoded
/// - [`CliError::Output`] as soon as an output cannot be written
pub(super) async fn write(
    gaps: Gaps,
    next: impl AsyncFnMut() -> Result<Option<Bytes>, ClientError>,
) -> Result<Option<Bytes>, CliError> {
    let mut output = OutputThread::start().map_err(CliError::Startup)?;
    let end = write_to(&mut output, gaps, next).await;
    let has_thread_ended = matches!(end, Err(CliError::Output { .. } | CliError::Startup(_)));
    if !has_thread_ended {
        output.finish().await?;
    }
    end
}

async fn write_to(
    output: &mut OutputThread,
    gaps: Gaps,
    mut next: impl AsyncFnMut() -> Result<Option<Bytes>, ClientError>,
) -> Result<Option<Bytes>, CliError> {
    let mut decoder = FrameDecoder::default();
    loop {
        let bytes = tokio::select! {
            biased;
            bytes = next() => bytes?,
            error = output.failed() => return Err(error),
        };
        let Some(bytes) = bytes else {
            decoder.finish().map_err(ClientError::Frame)?;
            return Ok(None);
        };
        decoder.push(bytes);
        while let Some(chunk) = decoder.next().map_err(ClientError::Frame)? {
            match chunk {
                Chunk::Stdout(bytes) => output.write(OutputStream::Stdout, bytes).await?,
                Chunk::Stderr(bytes) => output.write(OutputStream::Stderr, bytes).await?,
                Chunk::Outcome(json) => return Ok(Some(json)),
                Chunk::Gap(_) if gaps == Gaps::Reject => {
                    return Err(ClientError::Frame(FrameError::UnexpectedGap).into());
                }
                Chunk::Gap(bytes) => {
                    let note = format!("capstan: {bytes} bytes of output are missing here\n");
                    output.write(OutputStream::Stderr, note.into()).await?;
                }
            }
        }
    }
}
