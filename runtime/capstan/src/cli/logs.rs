//! `capstan logs`: prints the output of a job.

use std::process::ExitCode;

use clap::Args;
use hyper::header::CONTENT_TYPE;

use super::client::{Client, with_query};
use super::error::CliError;
use super::framed_output::{self, Gaps};
use super::frames::MEDIA_TYPE;
use super::jobs;
use super::time_arg::TimeArg;

/// The command line of `capstan logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Continue with new output until the job ends [default: off]
    #[arg(short, long)]
    follow: bool,
    /// Print only the last N lines [default: all]
    #[arg(long, value_name = "N|all", value_parser = parse_tail)]
    tail: Option<String>,
    /// Print only output since a time, or since this long ago [default: all]
    ///
    /// Examples: 2026-01-31T12:00:00Z, 90s, 10m, 1h 30m
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArg>,
    /// Print the time before each line [default: off]
    #[arg(short, long)]
    timestamps: bool,
    /// Print the output of this attempt of the job [default: the last attempt, and with -f those that follow]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print only stdout [default: stdout and stderr]
    #[arg(long)]
    stdout: bool,
    /// Print only stderr [default: stdout and stderr]
    #[arg(long)]
    stderr: bool,
    /// Id of the job, or at least its first 4 digits
    job: String,
}

/// Checks a number of lines, or `all`.
fn parse_tail(text: &str) -> Result<String, &'static str> {
    let is_valid = text == "all" || text.parse::<u64>().is_ok();
    if is_valid { Ok(text.to_owned()) } else { Err("expected a number of lines, or all") }
}

impl Logs {
    /// Prints stdout to stdout and stderr to stderr. Returns 0, whatever the outcome of the job.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let query = self.query();
        let id = jobs::resolve_one(client, self.job).await?;
        let mut response = client.open_stream(&with_query(&jobs::path(id, "/logs"), query), MEDIA_TYPE).await?;
        if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
            return Err(client.unexpected_response(&"its logs are not in frames").into());
        }
        framed_output::write(Gaps::Report, async || response.chunk().await).await?;
        Ok(ExitCode::SUCCESS)
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        // Neither flag means both streams.
        let both = self.stdout == self.stderr;
        let mut query = vec![
            ("stdout", (self.stdout || both).to_string()),
            ("stderr", (self.stderr || both).to_string()),
            ("follow", self.follow.to_string()),
            ("timestamps", self.timestamps.to_string()),
        ];
        query.extend(self.tail.as_ref().map(|lines| ("tail", lines.clone())));
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query.extend(self.attempt.map(|attempt| ("attempt", attempt.to_string())));
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
    fn flags_become_query_parameters() {
        check("logs 00ff", "?stdout=true&stderr=true&follow=false&timestamps=false");
        check("logs -f --stdout 00ff", "?stdout=true&stderr=false&follow=true&timestamps=false");
        check("logs --stderr -t 00ff", "?stdout=false&stderr=true&follow=false&timestamps=true");
        check(
            "logs --stderr --stdout --tail 3 --since 2026-01-01T00:00:00Z 00ff",
            "?stdout=true&stderr=true&follow=false&timestamps=false&tail=3&since=2026-01-01T00%3A00%3A00Z",
        );
    }
}
