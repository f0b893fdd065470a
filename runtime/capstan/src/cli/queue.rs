//! `capstan queue`: the queues of handlers.

use std::process::ExitCode;
use std::time::Duration;

use capstan_core::units;
use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::client::{Client, URL_ENCODE_SET};
use super::error::CliError;
use super::{format, output};

/// How often a drain asks whether jobs still run.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

const HEADER: [&str; 8] = ["HANDLER", "STATE", "DEPTH", "QUEUED", "RUNNING", "LATER", "OLDEST", "ENDED/MIN"];

/// The command line of `capstan queue`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct QueueCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the queues as JSON [default: a table]
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the queues that have jobs or are paused; the default
    Ls {
        /// Print the queues as JSON [default: a table]
        #[arg(long)]
        json: bool,
    },
    /// Show one queue, and why each of its jobs waits
    Show {
        /// Print the queue as JSON [default: tables]
        #[arg(long)]
        json: bool,
        handler: String,
    },
    /// Start no more jobs of a handler. Jobs that run go on
    Pause { handler: String },
    /// Start no more jobs of a handler, and wait until none runs
    ///
    /// The queue stays paused. Jobs that wait are kept.
    Drain {
        /// Give up after this time: 30s, 5m, or seconds. The queue stays paused [default: wait without limit]
        #[arg(long, value_name = "TIME", value_parser = units::duration)]
        timeout: Option<Duration>,
        handler: String,
    },
    /// Start jobs of a handler again
    Resume { handler: String },
}

impl QueueCommand {
    /// Lists, shows or changes queues.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        match self.action.unwrap_or(Action::Ls { json: self.json }) {
            Action::Ls { json } => {
                let queues = client.call(Method::GET, "/queues").await?;
                if json { output::print_json(&queues)? } else { output::print(table(&queues).as_bytes())? }
            }
            Action::Show { json, handler } => {
                let queue = client.call(Method::GET, &path(&handler, "")).await?;
                if json { output::print_json(&queue)? } else { output::print(details(&queue).as_bytes())? }
            }
            Action::Pause { handler } => change(client, &handler, "/pause").await?,
            Action::Drain { timeout, handler } => drain(client, &handler, timeout).await?,
            Action::Resume { handler } => change(client, &handler, "/resume").await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn change(client: &Client, handler: &str, action: &str) -> Result<(), CliError> {
    client.call(Method::POST, &path(handler, action)).await?;
    output::print(format!("{handler}\n").as_bytes())
}

/// Pauses the queue of `handler` and waits until none of its jobs runs. A job that fails meanwhile waits for its next attempt.
async fn drain(client: &Client, handler: &str, timeout: Option<Duration>) -> Result<(), CliError> {
    client.call(Method::POST, &path(handler, "/pause")).await?;
    let until_idle = async {
        while client.call(Method::GET, &path(handler, "")).await?["running"] != 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok::<_, CliError>(())
    };
    match timeout {
        None => until_idle.await?,
        Some(timeout) => tokio::time::timeout(timeout, until_idle)
            .await
            .map_err(|_| CliError::DrainTimeout { handler: handler.to_owned(), timeout })??,
    }
    output::print(format!("{handler}\n").as_bytes())
}

fn path(handler: &str, action: &str) -> String {
    format!("/queues/{}{action}", utf8_percent_encode(handler, URL_ENCODE_SET))
}

/// Formats the queues of `GET /queues`.
pub(super) fn table(queues: &Value) -> String {
    format::table(&HEADER, queues["queues"].as_array().into_iter().flatten().map(row))
}

fn row(queue: &Value) -> Vec<String> {
    let count = |name: &str| queue[name].as_u64().unwrap_or(0);
    vec![
        queue["handler"].as_str().unwrap_or_default().to_owned(),
        if queue["paused"] == true { "paused" } else { "active" }.to_owned(),
        count("depth").to_string(),
        count("queued").to_string(),
        count("running").to_string(),
        (count("scheduled") + count("waiting") + count("retrying")).to_string(),
        queue["oldest_age"].as_f64().map(|age| format::seconds(age.round())).unwrap_or_default(),
        count("ended_last_minute").to_string(),
    ]
}

/// Formats one queue and its waiting jobs.
fn details(queue: &Value) -> String {
    let mut text = format::table(&HEADER, [row(queue)]);
    let jobs: Vec<_> = queue["jobs"].as_array().into_iter().flatten().collect();
    if jobs.is_empty() {
        return text;
    }
    let rows = jobs.iter().map(|job| {
        let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
        vec![text("id"), text("state"), job["priority"].to_string(), why(&job["why"])]
    });
    text.push('\n');
    text.push_str(&format::table(&["JOB", "STATE", "PRIORITY", "WAITS FOR"], rows));
    if queue["more"] == true {
        text.push_str("…\n");
    }
    text
}

/// Returns why a job waits, in words.
fn why(reason: &Value) -> String {
    let time = || reason["time"].as_str().unwrap_or_default().to_owned();
    match reason["reason"].as_str().unwrap_or_default() {
        "not_before" => format!("its time, {}", time()),
        "retry" => format!("its next attempt, {}", time()),
        "dependencies" => {
            let jobs = reason["jobs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            format!("the end of {}", jobs.collect::<Vec<_>>().join(", "))
        }
        "paused" => "the queue to be resumed".to_owned(),
        "handler_limit" => "a job of the handler to end: its concurrency limit is reached".to_owned(),
        "key_limit" => "a job with the same key to end".to_owned(),
        "rate_limit" => "the rate of the handler to allow another job".to_owned(),
        "no_slot" => "a free slot".to_owned(),
        "stopping" => "the next start of the daemon".to_owned(),
        "turn" => "its turn".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queues_are_formatted_as_table() {
        let queue = json!({
            "handler": "resize", "paused": true, "depth": 7, "queued": 3, "running": 1, "scheduled": 1, "waiting": 1,
            "retrying": 1, "oldest_age": 61.4, "ended_last_minute": 12,
            "jobs": [{"id": "01", "state": "queued", "priority": 5, "why": {"reason": "paused"}}], "more": true,
        });
        let expected = [
            "HANDLER  STATE   DEPTH  QUEUED  RUNNING  LATER  OLDEST  ENDED/MIN",
            "resize   paused  7      3       1        3      1m 1s   12",
        ];
        assert_eq!(table(&json!({"queues": [queue]})).lines().collect::<Vec<_>>(), expected);
        let shown = details(&queue);
        assert!(shown.ends_with("01   queued  5         the queue to be resumed\n…\n"), "{shown}");
    }
}
