//! `capstan check`: what a job would be allowed, without running it.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::client::Client;
use super::error::{self, CliError};
use super::run::PolicyArgs;
use super::{output, show};

/// What is shown of a finding.
const KEYS: [&str; 6] = ["key", "by", "asked", "verdict", "granted", "rule"];

/// What `capstan check` is called with.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print the whole answer as JSON, the policy that the job would have among it.
    #[arg(long)]
    json: bool,
    /// The handler that would run.
    #[arg(value_name = "NAME")]
    handler: String,
}

impl Check {
    /// Asks, and prints what stands against it, a line each. Exits 125 where the job would be refused.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let order = json!({"handler": self.handler, "policy": self.policy.asked()});
        let answer = client.tell(Method::POST, "/policy/check", &order).await?;
        let allowed = answer["allowed"] == true;
        if self.json {
            output::print_json(&answer)?;
        } else {
            output::print(table(&answer).as_bytes())?;
        }
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::from(error::FAILED) })
    }
}

fn table(answer: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let findings = answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = format!("{}\n", if answer["allowed"] == true { "allowed" } else { "denied" });
    if !findings.is_empty() {
        let rows = findings.iter().map(|finding| KEYS.map(|key| text(&finding[key])).to_vec());
        lines.push_str(&show::table(&["KEY", "BY", "ASKED", "VERDICT", "GRANTED", "RULE"], rows));
    }
    lines
}
