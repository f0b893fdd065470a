//! `capstan cancel`, `kill` and `rm`: one operation on each of several jobs.

use std::process::ExitCode;
use std::time::Duration;

use capstan_core::units;
use capstan_engine::job::JobId;
use clap::Args;
use hyper::Method;

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::{jobs, output, wait};

/// The command line of `capstan cancel`.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Time in which the jobs may still end by themselves: 5s, 500ms, or seconds [default: 0s]
    ///
    /// They notice it: their stdin ends at once.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    grace: Option<Duration>,
    /// Ids of the jobs, or at least the first 4 digits of each. If one cannot be cancelled, the command continues with the others
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// The command line of `capstan kill`.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Ids of the jobs, or at least the first 4 digits of each. If one cannot be killed, the command continues with the others
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// The command line of `capstan rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill jobs that have not ended, instead of reporting an error [default: off]
    #[arg(short, long)]
    force: bool,
    /// Ids of the jobs, or at least the first 4 digits of each. If one cannot be removed, the command continues with the others
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl Cancel {
    /// Cancels each job, immediately or after the grace time. Does not wait for the end of the jobs.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let grace = self.grace.map(|grace| ("grace", grace.as_secs_f64().to_string()));
        let cancel = async |id| {
            client.call(Method::POST, &with_query(&jobs::path(id, "/cancel"), grace.clone())).await?;
            Ok(())
        };
        for_each_job(client, &self.jobs, cancel).await
    }
}

impl Kill {
    /// Kills each job.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        for_each_job(client, &self.jobs, async |id| Ok(kill(client, id).await?)).await
    }
}

impl Rm {
    /// Removes each job and its output from the daemon.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let remove = async |id| {
            if self.force {
                match kill(client, id).await {
                    Err(ClientError::Rejected { code, .. }) if code == "job_ended" => {}
                    result => {
                        result?;
                        wait::wait_for_end(client, id, None).await?;
                    }
                }
            }
            client.call(Method::DELETE, &jobs::path(id, "")).await?;
            Ok(())
        };
        for_each_job(client, &self.jobs, remove).await
    }
}

async fn kill(client: &Client, id: JobId) -> Result<(), ClientError> {
    client.call(Method::POST, &jobs::path(id, "/kill")).await.map(drop)
}

/// Applies `operation` to each job. Prints each job for which it succeeds, in the form in which the user named it, and reports each failure.
/// Returns the exit code of the last failure.
pub(super) async fn for_each_job(
    client: &Client,
    texts: &[String],
    operation: impl AsyncFn(JobId) -> Result<(), CliError>,
) -> Result<ExitCode, CliError> {
    let mut exit_code = ExitCode::SUCCESS;
    for (text, id) in texts.iter().zip(jobs::resolve(client, texts).await?) {
        let result = match id {
            Ok(id) => operation(id).await,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => output::print(format!("{text}\n").as_bytes())?,
            Err(error) => {
                output::print_error(&error);
                exit_code = ExitCode::from(error.exit_code());
            }
        }
    }
    Ok(exit_code)
}
