//! What all jobs of each handler have used together.

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, ClientError};
use super::super::show;

/// A handler that has had jobs.
#[derive(Debug, Deserialize)]
pub(super) struct Handler {
    name: String,
    totals: Totals,
    /// As the daemon tells it, which may know more than this command.
    #[serde(skip)]
    told: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Totals {
    jobs: u64,
    failed: u64,
    run_seconds: f64,
    cpu_seconds: f64,
    memory_peak: u64,
    stdin_bytes: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

/// Asks the daemon for all handlers that have had jobs, those that have computed most first.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn ask(client: &Client) -> Result<Vec<Handler>, ClientError> {
    let answer = client.ask(Method::GET, "/handlers").await?;
    let mut handlers = Vec::new();
    for told in answer["handlers"].as_array().into_iter().flatten() {
        let handler = Handler::deserialize(told).map_err(|error| client.foreign(&error))?;
        if handler.totals.jobs > 0 {
            handlers.push(Handler { told: told["totals"].clone(), ..handler });
        }
    }
    handlers.sort_by(|one, other| other.totals.cpu_seconds.total_cmp(&one.totals.cpu_seconds));
    Ok(handlers)
}

pub(super) fn table(handlers: &[Handler]) -> String {
    let header = ["HANDLER", "JOBS", "FAILED", "RAN FOR", "COMPUTED", "PEAK MEMORY", "IN", "OUT"];
    let row = |Handler { name, totals, .. }: &Handler| {
        vec![
            name.clone(),
            totals.jobs.to_string(),
            totals.failed.to_string(),
            show::seconds(totals.run_seconds),
            show::seconds(totals.cpu_seconds),
            show::size(totals.memory_peak),
            show::size(totals.stdin_bytes),
            show::size(totals.stdout_bytes + totals.stderr_bytes),
        ]
    };
    show::table(&header, handlers.iter().map(row))
}

pub(super) fn to_json(handlers: &[Handler], at: Timestamp) -> String {
    let handler = |Handler { name, told, .. }: &Handler| json!({"name": name, "totals": told});
    format!("{}\n", json!({"at": at, "handlers": handlers.iter().map(handler).collect::<Vec<_>>()}))
}
