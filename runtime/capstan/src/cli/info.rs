//! `capstan info`: shows the state of the daemon.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::Client;
use super::error::CliError;
use super::output;

/// The command line of `capstan info`.
#[derive(Debug, Args)]
pub(super) struct Info {
    /// Print the response of the daemon as JSON.
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Prints the state of the daemon.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        output::print_fields(&client.call(Method::GET, "/info").await?, self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}
