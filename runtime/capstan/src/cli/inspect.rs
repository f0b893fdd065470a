//! `capstan inspect`: all that the daemon knows of a job.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::Client;
use super::error::CliError;
use super::{jobs, output};

/// What `capstan inspect` is called with.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The job, by its id or the first of that.
    job: String,
}

impl Inspect {
    /// Asks, and prints the answer as it is: JSON, since there is too much for a table.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let id = jobs::resolve_one(client, self.job).await?;
        output::print_json(&client.ask(Method::GET, &jobs::path(id, "")).await?)?;
        Ok(ExitCode::SUCCESS)
    }
}
