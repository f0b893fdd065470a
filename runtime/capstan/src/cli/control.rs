//! `capstan cancel`, `kill` and `rm`: the same done to each of several jobs.

use std::process::ExitCode;
use std::time::Duration;

use capstan_core::units;
use capstan_engine::job::JobId;
use clap::Args;
use hyper::Method;

use super::client::{Client, ClientError, with_query};
use super::error::CliError;
use super::{jobs, output, wait};

/// What `capstan cancel` is called with.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Let them go on for this time, in which they may end by themselves: 5s, 500ms, or seconds. Default: end them now.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    grace: Option<Duration>,
    /// The jobs, each by its id or the first of that; one that cannot be cancelled does not keep the others.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// What `capstan kill` is called with.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// The jobs, each by its id or the first of that; one that cannot be killed does not keep the others.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// What `capstan rm` is called with.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill those that have not ended.
    #[arg(short, long)]
    force: bool,
    /// The jobs, each by its id or the first of that; one that cannot be forgotten does not keep the others.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl Cancel {
    /// Has each ended, now or after the time of grace, and does not wait for it.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let grace = self.grace.map(|grace| ("grace", grace.as_secs_f64().to_string()));
        let cancel = async |id| {
            client.ask(Method::POST, &with_query(&jobs::path(id, "/cancel"), grace.clone())).await?;
            Ok(())
        };
        each(client, &self.jobs, cancel).await
    }
}

impl Kill {
    /// Ends each at once.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        each(client, &self.jobs, async |id| Ok(kill(client, id).await?)).await
    }
}

impl Rm {
    /// Has the daemon forget each.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let remove = async |id| {
            if self.force {
                match kill(client, id).await {
                    Err(ClientError::Refused { code, .. }) if code == "job_ended" => {}
                    killed => {
                        killed?;
                        wait::end(client, id, None).await?;
                    }
                }
            }
            client.ask(Method::DELETE, &jobs::path(id, "")).await?;
            Ok(())
        };
        each(client, &self.jobs, remove).await
    }
}

async fn kill(client: &Client, id: JobId) -> Result<(), ClientError> {
    client.ask(Method::POST, &jobs::path(id, "/kill")).await.map(drop)
}

/// Does `work` with each of the jobs and prints those with which it could be done, as they were named; the exit code is that of the
/// last with which it could not.
async fn each(
    client: &Client,
    texts: &[String],
    work: impl AsyncFn(JobId) -> Result<(), CliError>,
) -> Result<ExitCode, CliError> {
    let mut exit_code = ExitCode::SUCCESS;
    for (text, id) in texts.iter().zip(jobs::resolve(client, texts).await?) {
        let done = match id {
            Ok(id) => work(id).await,
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(()) => output::print(format!("{text}\n").as_bytes())?,
            Err(error) => {
                output::complain(&error);
                exit_code = ExitCode::from(error.exit_code());
            }
        }
    }
    Ok(exit_code)
}
