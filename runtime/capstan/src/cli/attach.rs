//! `capstan attach`: the streams of a job that is there already.

use std::io;
use std::process::ExitCode;

use capstan_core::outcome::OutputStream;
use capstan_core::stream::PIPE_CAPACITY;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::exit_code::Ending;
use super::frames::{Frames, Piece};
use super::{jobs, output, remote};

/// What the connection speaks once the daemon has agreed.
const PROTOCOL: &str = "capstan.stream";

/// What `capstan attach` is called with.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Do not feed the job: its stdin is not open, or is left to somebody else.
    #[arg(long)]
    no_stdin: bool,
    /// Begin with what it has written already.
    #[arg(long)]
    logs: bool,
    /// The job, by its id or the first of that.
    job: String,
}

impl Attach {
    /// Joins the caller's streams to those of the job until it ends, and tells how, as `run` does.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let query = [("stdin", (!self.no_stdin).to_string()), ("logs", self.logs.to_string())];
        let id = jobs::resolve_one(client, self.job).await?;
        let connection = client.upgrade(&with_query(&jobs::path(id, "/attach"), query), PROTOCOL).await?;
        let (from, to) = tokio::io::split(connection);
        let ending = if self.no_stdin {
            receive(from).await?
        } else {
            tokio::select! {
                ending = receive(from) => ending?,
                error = send(to) => return Err(CliError::Stdin(error)),
            }
        };
        if let Some(message) = ending.message() {
            output::complain(message);
        }
        Ok(ExitCode::from(ending.exit_code))
    }
}

/// Hands on what comes until the daemon tells how the job ended.
async fn receive(mut from: impl AsyncRead + Unpin) -> Result<Ending, CliError> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; PIPE_CAPACITY];
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let count = from.read(&mut buffer).await.map_err(|_| ClientError::Broken)?;
        if count == 0 {
            frames.end().map_err(ClientError::Frame)?;
            return Err(ClientError::Broken.into());
        }
        frames.push(&buffer[..count]);
        while let Some(piece) = frames.next().map_err(ClientError::Frame)? {
            let (stream, written) = match piece {
                Piece::Stdout(bytes) => (OutputStream::Stdout, output::pass_on(&mut stdout, &bytes).await),
                Piece::Stderr(bytes) => (OutputStream::Stderr, output::pass_on(&mut stderr, &bytes).await),
                Piece::Outcome(json) => return remote::read_ending(&json),
                Piece::Gap(missed) => {
                    output::complain(format_args!("{missed} bytes of output are missing here"));
                    continue;
                }
            };
            written.map_err(output::to(stream))?;
        }
    }
}

/// Sends stdin to its end, and then waits for ever: the job may go on. Gives what ended stdin before.
async fn send(mut to: impl AsyncWrite + Unpin) -> io::Error {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIPE_CAPACITY];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                // What goes wrong with the connection is told by its other half.
                if to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
                    return std::future::pending().await;
                }
            }
            Err(error) => return error,
        }
    }
    let _ = to.shutdown().await;
    std::future::pending().await
}
