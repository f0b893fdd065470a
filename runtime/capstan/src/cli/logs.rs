//! `capstan logs`: what a job has written, each stream to its own.

use std::process::ExitCode;

use capstan_core::outcome::OutputStream;
use clap::Args;
use hyper::header::CONTENT_TYPE;

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::frames::{Frames, MEDIA_TYPE, Piece};
use super::time::Moment;
use super::{jobs, output};

/// What `capstan logs` is called with.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on until the job ends.
    #[arg(short, long)]
    follow: bool,
    /// Print the last lines only, this many.
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Print what was written since a time, or within the last 10m.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Put before each line when it was written.
    #[arg(short, long)]
    timestamps: bool,
    /// Print what went to stdout, and not what went to stderr.
    #[arg(long)]
    stdout: bool,
    /// Print what went to stderr, and not what went to stdout.
    #[arg(long)]
    stderr: bool,
    /// The job, by its id or the first of that.
    job: String,
}

impl Logs {
    /// Asks, and hands on what comes. Ends with 0 however the job did.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let query = self.query();
        let id = jobs::resolve_one(client, self.job).await?;
        let mut answer = client.follow(&with_query(&jobs::path(id, "/logs"), query), MEDIA_TYPE).await?;
        if answer.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
            return Err(client.foreign(&"it does not answer with logs in frames").into());
        }
        let mut frames = Frames::default();
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        while let Some(bytes) = answer.chunk().await? {
            frames.push(&bytes);
            while let Some(piece) = frames.next().map_err(ClientError::Frame)? {
                let (stream, written) = match piece {
                    Piece::Stdout(bytes) => (OutputStream::Stdout, output::pass_on(&mut stdout, &bytes).await),
                    Piece::Stderr(bytes) => (OutputStream::Stderr, output::pass_on(&mut stderr, &bytes).await),
                    Piece::Outcome(_) => return Ok(ExitCode::SUCCESS),
                    Piece::Gap(missed) => {
                        output::complain(format_args!("{missed} bytes of output are missing here"));
                        continue;
                    }
                };
                written.map_err(output::to(stream))?;
            }
        }
        frames.end().map_err(ClientError::Frame)?;
        Ok(ExitCode::SUCCESS)
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let either = self.stdout || self.stderr;
        let mut query = vec![
            ("stdout", (self.stdout || !either).to_string()),
            ("stderr", (self.stderr || !either).to_string()),
            ("follow", self.follow.to_string()),
            ("timestamps", self.timestamps.to_string()),
        ];
        query.extend(self.tail.map(|lines| ("tail", lines.to_string())));
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            logs: Logs,
        }
        let line = <Line as clap::Parser>::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(with_query("", line.logs.query()), expected);
    }

    #[test]
    fn what_is_asked_for_stands_in_the_query() {
        check("logs 00ff", "?stdout=true&stderr=true&follow=false&timestamps=false");
        check("logs -f --stdout 00ff", "?stdout=true&stderr=false&follow=true&timestamps=false");
        check("logs --stderr -t 00ff", "?stdout=false&stderr=true&follow=false&timestamps=true");
        check(
            "logs --stderr --stdout --tail 3 --since 2026-01-01T00:00:00Z 00ff",
            "?stdout=true&stderr=true&follow=false&timestamps=false&tail=3&since=2026-01-01T00%3A00%3A00Z",
        );
    }
}
