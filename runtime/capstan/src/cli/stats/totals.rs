//! The totals of `capstan stats --by-handler`: what all ended jobs of each handler have used.

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, ClientError};
use super::super::format;

/// A handler and the totals of its jobs.
#[derive(Debug, Deserialize)]
pub(super) struct Handler {
    name: String,
    totals: Totals,
    /// The totals as the daemon sent them. A newer daemon may send fields that this command does not know.
    #[serde(skip)]
    totals_json: Value,
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

/// Returns all handlers that have had jobs, those that used the most CPU time first.
///
/// # Errors
/// [`ClientError`]
pub(super) async fn fetch(client: &Client) -> Result<Vec<Handler>, ClientError> {
    let response = client.call(Method::GET, "/handlers").await?;
    let mut handlers = Vec::new();
    for json in response["handlers"].as_array().into_iter().flatten() {
        let handler = Handler::deserialize(json).map_err(|error| client.unexpected_response(&error))?;
        if handler.totals.jobs > 0 {
            handlers.push(Handler { totals_json: json["totals"].clone(), ..handler });
        }
    }
    handlers.sort_by(|one, other| other.totals.cpu_seconds.total_cmp(&one.totals.cpu_seconds));
    Ok(handlers)
}

/// Formats the totals as a table.
pub(super) fn table(handlers: &[Handler]) -> String {
    let header = ["HANDLER", "JOBS", "FAILED", "RAN FOR", "COMPUTED", "PEAK MEMORY", "IN", "OUT"];
    let row = |Handler { name, totals, .. }: &Handler| {
        vec![
            name.clone(),
            totals.jobs.to_string(),
            totals.failed.to_string(),
            format::seconds(totals.run_seconds),
            format::seconds(totals.cpu_seconds),
            format::size(totals.memory_peak),
            format::size(totals.stdin_bytes),
            format::size(totals.stdout_bytes + totals.stderr_bytes),
        ]
    };
    format::table(&header, handlers.iter().map(row))
}

/// Formats the totals as one line of JSON.
pub(super) fn to_json(handlers: &[Handler], at: Timestamp) -> String {
    let handler = |Handler { name, totals_json, .. }: &Handler| json!({"name": name, "totals": totals_json});
    format!("{}\n", json!({"at": at, "handlers": handlers.iter().map(handler).collect::<Vec<_>>()}))
}
