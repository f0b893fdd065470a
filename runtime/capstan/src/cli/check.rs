//! `capstan check`: shows the policy that a job would get, without running it.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::client::Client;
use super::error::CliError;
use super::policy_args::PolicyArgs;
use super::{exit_code, format, output};

/// The fields of a finding that the table shows.
const COLUMNS: [&str; 6] = ["key", "by", "asked", "verdict", "granted", "rule"];

/// The command line of `capstan check`.
#[derive(Debug, Args)]
#[command(mut_arg("feature", |feature| feature.hide(true)))]
pub(super) struct Check {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print the response of the daemon as JSON, with the policy that the job would get [default: a table]
    #[arg(long)]
    json: bool,
    /// Name of the handler
    #[arg(value_name = "NAME")]
    handler: String,
}

impl Check {
    /// Prints whether the job would be allowed, and each rule against it. Returns 125 if the job would be refused.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let body = json!({"handler": self.handler, "policy": self.policy.to_request()});
        let response = client.call_with_json(Method::POST, "/policy/check", &body).await?;
        let allowed = response["allowed"] == true;
        if self.json {
            output::print_json(&response)?;
        } else {
            output::print(table(&response).as_bytes())?;
        }
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::from(exit_code::FAILED) })
    }
}

fn table(response: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let findings = response["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = format!("{}\n", if response["allowed"] == true { "allowed" } else { "denied" });
    if !findings.is_empty() {
        let rows = findings.iter().map(|finding| COLUMNS.map(|key| text(&finding[key])).to_vec());
        lines.push_str(&format::table(&["KEY", "BY", "ASKED", "VERDICT", "GRANTED", "RULE"], rows));
    }
    lines
}
