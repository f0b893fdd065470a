//! `capstan commands`: the names of what the daemon can run, by the builtin of that name.

use std::process::ExitCode;

use clap::Args;
use http_body_util::{BodyExt as _, Empty};
use hyper::Method;

use super::client::{Client, request};
use super::error::CliError;
use super::output;

/// What `capstan commands` is called with.
#[derive(Debug, Args)]
pub(super) struct Commands {
    /// Print what is known of each as JSON: source, kind, digest, usage, description.
    #[arg(long)]
    json: bool,
}

impl Commands {
    /// Runs the builtin, and prints what it prints. Stdin is left to whoever reads it next.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        if self.json {
            output::print_json(&client.ask(Method::POST, "/handlers/commands/run?arg=--json").await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = request(Method::POST, "/handlers/commands/run").body(nothing).expect("the path is encoded");
        let mut answer = client.exchange(request).await?;
        while let Some(bytes) = answer.chunk().await? {
            output::print(&bytes)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
