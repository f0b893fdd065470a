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
    /// Return when the first of the jobs has ended [default: when all have]
    #[arg(long)]
    any: bool,
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
        let ids = jobs::resolve(client, &self.jobs).await?;
        if self.any {
            let ids = ids.into_iter().collect::<Result<Vec<_>, _>>()?;
            let waits = ids.into_iter().map(|id| Box::pin(wait_for_end(client, id, deadline)));
            return report(futures_util::future::select_all(waits).await.0);
        }
        let mut last = ExitCode::SUCCESS;
        for id in ids {
            last = report(match id {
                Ok(id) => wait_for_end(client, id, deadline).await,
                Err(error) => Err(error.into()),
            })?;
        }
        Ok(last)
    }
}

/// Prints the exit code of a job that has ended, or why it could not be waited for. Returns the exit code.
fn report(result: Result<JobRecord, CliError>) -> Result<ExitCode, CliError> {
    let record = match result {
        Ok(record) => record,
        Err(error) => {
            output::print_error(&error);
            return Ok(ExitCode::from(error.exit_code()));
        }
    };
    let code = record.exit_code().expect("a job that has ended has an exit code");
    if let Some(error) = &record.error {
        output::print_error(format_args!("{} {}: {error}", record.handler, format::short_id(record.id)));
    }
    output::print(format!("{code}\n").as_bytes())?;
    Ok(ExitCode::from(code))
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
        if job["state"].as_str().is_some_and(jobs::has_ended) {
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
