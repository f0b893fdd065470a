//! `capstan version`: shows the versions of this command and of the daemon.

use std::process::ExitCode;

use capstan_sandbox::WASMTIME_VERSION;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::output;

/// The command line of `capstan version`.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print both versions as JSON. `server` is null if no daemon can be reached.
    #[arg(long)]
    json: bool,
}

impl Version {
    /// Prints both versions. It is not an error if no daemon can be reached: the command still has a version.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let own = json!({"version": env!("CARGO_PKG_VERSION"), "wasmtime": WASMTIME_VERSION});
        let server = match client.call(Method::GET, "/version").await {
            Ok(version) => Ok(version),
            Err(error @ ClientError::Unreachable { .. }) => Err(error),
            Err(error) => return Err(error.into()),
        };
        if self.json {
            let server = server.as_ref().ok().cloned().unwrap_or(Value::Null);
            output::print_json(&json!({"client": own, "server": server}))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::print_fields(&json!({"client": own}), false)?;
        match server {
            Ok(version) => output::print_fields(&json!({"server": version}), false)?,
            Err(error) => output::print_note(format_args!("no server: {error}")),
        }
        Ok(ExitCode::SUCCESS)
    }
}
