//! `capstan commands`: prints the names of all handlers, by running the builtin of that name.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::{Client, empty_body, request};
use super::error::CliError;
use super::output;

/// The command line of `capstan commands`.
#[derive(Debug, Args)]
pub(super) struct Commands {
    /// Print everything that the daemon knows about each handler, as JSON [default: names]
    #[arg(long)]
    json: bool,
}

impl Commands {
    /// Runs the builtin and prints its output. Does not read stdin.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        if self.json {
            output::print_json(&client.call(Method::POST, "/handlers/commands/run?arg=--json").await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let request = request(Method::POST, "/handlers/commands/run").body(empty_body()).expect("the path is encoded");
        let mut response = client.exchange(request).await?;
        while let Some(bytes) = response.chunk().await? {
            output::print(&bytes)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
