//! `capstan wait`: waits until jobs have ended and prints their exit codes.

use std::process::ExitCode;
use std::time::Duration;

use capstan_core::units;
use capstan_engine::job::JobId;
use clap::Args;
use hyper::Method;
use tokio::time::Instant;

use super::client::{Client, with_query};
use super::error::CliError;
use super::jobs::{self, JobRecord};
use super::{format, output};

/// How long one request waits. Short, so that a daemon that no longer responds is detected.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The command line of `capstan wait`.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Give up after this time, for all jobs together: 5s, 1m 30s, or seconds [default: wait without limit]
    ///
    /// The jobs continue, and the exit code is 125.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// Ids of the jobs, or at least the first 4 digits of each
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl Wait {
    /// Prints the exit code of each job, in the order of the command line, and on stderr why a job failed. Returns the code of the last job.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let deadline = self.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let mut last = ExitCode::SUCCESS;
        for id in jobs::resolve(client, &self.jobs).await? {
            let result = match id {
                Ok(id) => wait_for_end(client, id, deadline).await,
                Err(error) => Err(error.into()),
            };
            last = match result {
                Ok(record) => {
                    let code = record.exit_code().expect("a job that has ended has an exit code");
                    if let Some(error) = &record.error {
                        output::print_error(format_args!(
                            "{} {}: {error}",
                            record.handler,
                            format::short_id(record.id)
                        ));
                    }
                    output::print(format!("{code}\n").as_bytes())?;
                    ExitCode::from(code)
                }
                Err(error) => {
                    output::print_error(&error);
                    ExitCode::from(error.exit_code())
                }
            };
        }
        Ok(last)
    }
}

/// Waits until a job has ended and returns its record.
///
/// `deadline` is the time at which to give up, with the timeout that the user set, for the error message.
///
/// # Errors
/// [`CliError::WaitTimeout`], [`CliError::Client`].
pub(super) async fn wait_for_end(
    client: &Client,
    id: JobId,
    deadline: Option<(Instant, Duration)>,
) -> Result<JobRecord, CliError> {
    loop {
        let remaining = deadline.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let interval = remaining.map_or(POLL_INTERVAL, |remaining| remaining.min(POLL_INTERVAL));
        let path = with_query(&jobs::path(id, "/wait"), [("timeout", interval.as_secs_f64().to_string())]);
        let job = client.call(Method::POST, &path).await?;
        let record = JobRecord::from_json(client, &job)?;
        if record.exit_code().is_some() {
            return Ok(record);
        }
        if job["state"] == "done" {
            return Err(client.unexpected_response(&"it reports a job that has ended without an exit code").into());
        }
        match (deadline, remaining) {
            (Some((_, timeout)), Some(remaining)) if remaining <= interval => {
                return Err(CliError::WaitTimeout { id, timeout });
            }
            _ => {}
        }
    }
}
