//! `capstan retry`: runs jobs again that have ended.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::CliError;
use super::job_control::for_each_job;
use super::jobs;

/// The command line of `capstan retry`.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// Argument of the guest, instead of those that the job has. May be repeated [default: the same arguments]
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// Variable of the guest, instead of those that the job has. May be repeated [default: the same variables]
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::queue_args::parse_label)]
    env: Vec<(String, String)>,
    /// Ids of the jobs, or at least the first 4 digits of each. If one cannot be run again, the command continues with the others
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

impl Retry {
    /// Queues each job. Does not wait for their ends.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let edit = self.edit();
        let retry = async |id| {
            client.call_with_json(Method::POST, &jobs::path(id, "/retry"), &edit).await?;
            Ok(())
        };
        for_each_job(client, &self.jobs, retry).await
    }

    fn edit(&self) -> Value {
        let mut edit = json!({});
        if !self.arg.is_empty() {
            edit["args"] = json!(self.arg);
        }
        if !self.env.is_empty() {
            edit["env"] =
                self.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into();
        }
        edit
    }
}
