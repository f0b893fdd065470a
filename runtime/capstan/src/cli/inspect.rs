//! `capstan inspect`: prints everything that the daemon knows about a job.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::Client;
use super::error::CliError;
use super::{jobs, output};

/// The command line of `capstan inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Id of the job, or at least its first 4 digits
    job: String,
}

impl Inspect {
    /// Prints the job as JSON. It has too many fields for a table.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let id = jobs::resolve_one(client, self.job).await?;
        output::print_json(&client.call(Method::GET, &jobs::path(id, "")).await?)?;
        Ok(ExitCode::SUCCESS)
    }
}
