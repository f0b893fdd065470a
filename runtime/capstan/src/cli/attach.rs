//! `capstan attach`: connects stdin, stdout and stderr to those of a running job.

use std::io;
use std::process::ExitCode;

use bytes::BytesMut;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::framed_output::{self, Gaps};
use super::run_report::RunReport;
use super::{jobs, output};

/// The protocol of the upgraded connection.
const PROTOCOL: &str = "capstan.stream";

/// Bytes that are read at a time.
const PIECE_SIZE: usize = 128 << 10;

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
    let mut buffer = BytesMut::new();
    let next = async || {
        buffer.reserve(PIECE_SIZE);
        let count = reader.read_buf(&mut buffer).await.map_err(|_| ClientError::Disconnected)?;
        Ok((count > 0).then(|| buffer.split().freeze()))
    };
    match framed_output::write(Gaps::Report, next).await? {
        Some(json) => Ok(RunReport::from_json(&json)?),
        None => Err(ClientError::Disconnected.into()),
    }
}

/// Sends stdin to its end, then stays pending, since the job may continue. Returns only if stdin cannot be read, with that error.
async fn send_stdin(mut writer: impl AsyncWrite + Unpin) -> io::Error {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIECE_SIZE];
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
