//! `capstan attach`: connects stdin, stdout and stderr to those of a running job.

use std::io;
use std::process::ExitCode;

use capstan_core::outcome::OutputStream;
use capstan_core::stream::PIPE_CAPACITY;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::frames::{Chunk, FrameDecoder};
use super::run_report::RunReport;
use super::{jobs, output};

/// The protocol of the upgraded connection.
const PROTOCOL: &str = "capstan.stream";

/// The command line of `capstan attach`.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Do not send stdin, only watch [default: send it]
    ///
    /// Needed for a job whose stdin is not open (submitted without -i), or is used by another client.
    #[arg(long)]
    no_stdin: bool,
    /// First print the output so far [default: only new output]
    #[arg(long)]
    logs: bool,
    /// Id of the job, or at least its first 4 digits
    job: String,
}

impl Attach {
    /// Connects the streams of the caller to those of the job until it ends, and reports its outcome like `run`.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let query = [("stdin", (!self.no_stdin).to_string()), ("logs", self.logs.to_string())];
        let id = jobs::resolve_one(client, self.job).await?;
        let connection = client.upgrade(&with_query(&jobs::path(id, "/attach"), query), PROTOCOL).await?;
        let (reader, writer) = tokio::io::split(connection);
        let report = if self.no_stdin {
            receive(reader).await?
        } else {
            tokio::select! {
                report = receive(reader) => report?,
                error = send_stdin(writer) => return Err(CliError::Stdin(error)),
            }
        };
        if let Some(message) = report.message() {
            output::print_error(message);
        }
        Ok(ExitCode::from(report.exit_code))
    }
}

/// Passes the output on until the daemon sends the outcome.
async fn receive(mut reader: impl AsyncRead + Unpin) -> Result<RunReport, CliError> {
    let mut decoder = FrameDecoder::default();
    let mut buffer = vec![0; PIPE_CAPACITY];
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let count = reader.read(&mut buffer).await.map_err(|_| ClientError::Disconnected)?;
        if count == 0 {
            decoder.finish().map_err(ClientError::Frame)?;
            return Err(ClientError::Disconnected.into());
        }
        decoder.push(&buffer[..count]);
        while let Some(chunk) = decoder.next().map_err(ClientError::Frame)? {
            let (stream, written) = match chunk {
                Chunk::Stdout(bytes) => (OutputStream::Stdout, output::write_and_flush(&mut stdout, &bytes).await),
                Chunk::Stderr(bytes) => (OutputStream::Stderr, output::write_and_flush(&mut stderr, &bytes).await),
                Chunk::Outcome(json) => return Ok(RunReport::from_json(&json)?),
                Chunk::Gap(bytes) => {
                    output::print_error(format_args!("{bytes} bytes of output are missing here"));
                    continue;
                }
            };
            written.map_err(output::output_error(stream))?;
        }
    }
}

/// Sends stdin to its end, then stays pending, since the job may continue. Returns only if stdin cannot be read, with that error.
async fn send_stdin(mut writer: impl AsyncWrite + Unpin) -> io::Error {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIPE_CAPACITY];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                // The reading half reports errors of the connection.
                if writer.write_all(&buffer[..count]).await.is_err() || writer.flush().await.is_err() {
                    return std::future::pending().await;
                }
            }
            Err(error) => return error,
        }
    }
    let _ = writer.shutdown().await;
    std::future::pending().await
}
