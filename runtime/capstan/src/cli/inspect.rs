//! `capstan inspect`: prints everything that the daemon knows about a job, or what a program file is.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::Client;
use super::error::CliError;
use super::{inspect_file, jobs, output};

/// The command line of `capstan inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Id of the job, or at least its first 4 digits; or a program file
    ///
    /// It is a file if it contains a slash, ends in .wasm or .wat, or is `-`, which is stdin. A file needs no daemon, and is not compiled.
    #[arg(value_name = "JOB|FILE.wasm")]
    target: String,
    /// Print a file as JSON. A job always is [default: text]
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Prints the job as JSON, since it has too many fields for a table; or a file as text or JSON.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        if inspect_file::is_file(&self.target) {
            return inspect_file::run(&self.target, self.json);
        }
        let id = jobs::resolve_one(client, self.target).await?;
        output::print_json(&client.call(Method::GET, &jobs::path(id, "")).await?)?;
        Ok(ExitCode::SUCCESS)
    }
}
