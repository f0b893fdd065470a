//! `capstan dead-letters`: jobs that have failed for good.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Client, with_query};
use super::error::CliError;
use super::job_filter::JobFilterArgs;
use super::jobs::{self, JobRecord};
use super::{output, ps};

/// The command line of `capstan dead-letters`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them; the default
    Ls(List),
    /// Run them again, as if no run counted
    Requeue(Change),
    /// Remove them, with their attempts and output
    Purge(Change),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    filter: JobFilterArgs,
    /// Print the jobs as JSON [default: a table]
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    filter: JobFilterArgs,
    /// All dead letters [default: those that the other options select]
    #[arg(long)]
    all: bool,
}

impl DeadLetters {
    /// Lists or changes dead letters.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        match self.action.unwrap_or(Action::Ls(self.list)) {
            Action::Ls(list) => list.run(client).await,
            Action::Requeue(change) => change.run(client, Method::POST, "/dead-letters/requeue", "requeued").await,
            Action::Purge(change) => change.run(client, Method::DELETE, "/dead-letters", "removed").await,
        }
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let jobs = jobs::list_at(client, "/dead-letters", &self.filter.query(), None).await?;
        if self.json {
            output::print_json(&json!({"jobs": jobs}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let records = jobs.iter().map(|job| JobRecord::from_json(client, job)).collect::<Result<Vec<_>, _>>()?;
        output::print(ps::table(&records, Timestamp::now()).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Change {
    async fn run(self, client: &Client, method: Method, path: &str, done: &str) -> Result<ExitCode, CliError> {
        if self.filter.is_empty() && !self.all {
            return Err(CliError::SelectsAll);
        }
        let mut query = self.filter.query();
        if self.all {
            query.push(("all", "1".to_owned()));
        }
        let result = client.call(method, &with_query(path, query)).await?;
        let count = result[done].as_u64().unwrap_or(0);
        let ids = result["jobs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        output::print(ids.map(|id| format!("{id}\n")).collect::<String>().as_bytes())?;
        output::print_note(format_args!("{done} {count}"));
        Ok(ExitCode::SUCCESS)
    }
}
