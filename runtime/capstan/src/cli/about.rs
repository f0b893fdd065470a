//! `capstan info` and `capstan version`.

use std::process::ExitCode;

use capstan_sandbox::WASMTIME_VERSION;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::handlers::show;
use super::output;

/// What `capstan info` is called with.
#[derive(Debug, Args)]
pub(super) struct Info {
    /// Print what the daemon says as JSON.
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Asks, and shows the answer.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        show(&client.ask(Method::GET, "/info").await?, self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What `capstan version` is called with.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print both as JSON; the server's is null where there is none.
    #[arg(long)]
    json: bool,
}

impl Version {
    /// Shows both versions. That there is no daemon is no failure: this command has a version all the same.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let ours = json!({"version": env!("CARGO_PKG_VERSION"), "wasmtime": WASMTIME_VERSION});
        let server = match client.ask(Method::GET, "/version").await {
            Ok(theirs) => Ok(theirs),
            Err(error @ ClientError::Unreachable { .. }) => Err(error),
            Err(error) => return Err(error.into()),
        };
        if self.json {
            let theirs = server.as_ref().ok().cloned().unwrap_or(Value::Null);
            output::print_json(&json!({"client": ours, "server": theirs}))?;
            return Ok(ExitCode::SUCCESS);
        }
        show(&json!({"client": ours}), false)?;
        match server {
            Ok(theirs) => show(&json!({"server": theirs}), false)?,
            Err(error) => output::note(format_args!("no server: {error}")),
        }
        Ok(ExitCode::SUCCESS)
    }
}
