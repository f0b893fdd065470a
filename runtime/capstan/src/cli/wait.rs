//! `capstan wait`: until jobs have ended, and how.

use std::process::ExitCode;
use std::time::Duration;

use capstan_core::units;
use capstan_engine::job::JobId;
use clap::Args;
use hyper::Method;
use tokio::time::Instant;

use super::client::{Client, with_query};
use super::error::CliError;
use super::jobs::{self, Record};
use super::{output, show};

/// How long one request waits: short enough that a daemon which is gone is noticed.
const STEP: Duration = Duration::from_secs(30);

/// What `capstan wait` is called with.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Give up after this time: 5s, 1m 30s, or seconds. The jobs go on.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// The jobs, each by its id or the first of that.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl Wait {
    /// Prints the exit code of each job as they end, and on stderr why one failed, in the order in which they are named; the exit code is that of the last.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let deadline = self.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let mut last = ExitCode::SUCCESS;
        for id in jobs::resolve(client, &self.jobs).await? {
            let ended = match id {
                Ok(id) => end(client, id, deadline).await,
                Err(error) => Err(error.into()),
            };
            last = match ended {
                Ok(record) => {
                    let code = record.exit_code().expect("it has ended with one");
                    if let Some(error) = &record.error {
                        output::complain(format_args!("{} {}: {error}", record.handler, show::short(record.id)));
                    }
                    output::print(format!("{code}\n").as_bytes())?;
                    ExitCode::from(code)
                }
                Err(error) => {
                    output::complain(&error);
                    ExitCode::from(error.exit_code())
                }
            };
        }
        Ok(last)
    }
}

/// A job, when it has ended; before `deadline`, which comes with how long that was at first.
///
/// # Errors
/// [`CliError::StillRunning`], [`CliError::Client`].
pub(super) async fn end(client: &Client, id: JobId, deadline: Option<(Instant, Duration)>) -> Result<Record, CliError> {
    loop {
        let left = deadline.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let step = left.map_or(STEP, |left| left.min(STEP));
        let path = with_query(&jobs::path(id, "/wait"), [("timeout", step.as_secs_f64().to_string())]);
        let job = client.ask(Method::POST, &path).await?;
        let record = Record::read(client, &job)?;
        if record.exit_code().is_some() {
            return Ok(record);
        }
        if job["state"] == "done" {
            return Err(client.foreign(&"a job has ended without an exit code").into());
        }
        match (deadline, left) {
            (Some((_, timeout)), Some(left)) if left <= step => return Err(CliError::StillRunning { id, timeout }),
            _ => {}
        }
    }
}
