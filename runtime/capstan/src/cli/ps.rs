//! `capstan ps`: which jobs there are.

use std::collections::HashSet;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::jobs::{self, Record};
use super::{output, show};

const HEADER: [&str; 7] = ["JOB", "HANDLER", "STATE", "AGE", "RAN FOR", "PEAK MEMORY", "ERROR"];
/// Characters of an error that a row has; `inspect` shows all.
const ERROR: usize = 48;

/// What `capstan ps` is called with.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Show jobs that have ended too.
    #[arg(short, long)]
    all: bool,
    /// Show jobs of this handler only.
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Show this many at most, the newest.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print ids only, whole.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print what the daemon says as JSON.
    #[arg(long)]
    json: bool,
}

impl Ps {
    /// Asks, and shows the answer.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let jobs = self.ask(client).await?;
        if self.json {
            output::print_json(&json!({"jobs": jobs}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let records = jobs.iter().map(|job| Record::read(client, job)).collect::<Result<Vec<_>, _>>()?;
        let text = if self.quiet {
            records.iter().map(|record| format!("{}\n", record.id)).collect()
        } else {
            table(&records, Timestamp::now())
        };
        output::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, client: &Client) -> Result<Vec<Value>, ClientError> {
        let filter: Vec<_> = self.handler.iter().map(|name| ("handler", name.clone())).collect();
        if self.all {
            return jobs::list(client, &filter, self.limit).await;
        }
        let mut of_state = Vec::new();
        // In the order in which a job goes through them: one that goes on in between is seen twice, and not missed.
        for state in ["queued", "running"] {
            let mut filter = filter.clone();
            filter.push(("state", state.to_owned()));
            of_state.push(jobs::list(client, &filter, self.limit).await?);
        }
        let mut jobs = joined(of_state);
        jobs.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(jobs)
    }
}

/// All jobs of some lists once, as the last of these has them, newest first.
fn joined(lists: Vec<Vec<Value>>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let mut jobs: Vec<_> = lists.into_iter().rev().flatten().filter(|job| seen.insert(job["id"].to_string())).collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job["created"].as_str().and_then(|time| time.parse::<Timestamp>().ok())));
    jobs
}

/// A table; where some have failed, with the reason in a column of its own.
fn table(jobs: &[Record], now: Timestamp) -> String {
    let columns = if jobs.iter().any(|job| job.error.is_some()) { HEADER.len() } else { HEADER.len() - 1 };
    let rows = jobs.iter().map(|job| {
        let mut row = vec![
            show::short(job.id),
            job.handler.clone(),
            job.status(),
            job.age(now),
            show::seconds(job.usage.run_seconds),
            show::size(job.usage.memory_peak),
            show::first(ERROR, job.error.as_deref().unwrap_or_default()),
        ];
        row.truncate(columns);
        row
    });
    show::table(&HEADER[..columns], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_a_table() {
        let jobs = [
            json!({"id": "00ff00ff00ff00ff00ff00ff00ff00ff", "handler": "wc", "state": "running", "created": "2026-01-01T00:59:59Z",
                "outcome": null, "exit_code": null, "usage": {"run_seconds": 1.5, "memory_peak": 65536}}),
            json!({"id": "11ff00ff00ff00ff00ff00ff00ff00ff", "handler": "thumbnail", "state": "done",
                "created": "2026-01-01T00:00:00Z", "outcome": {"kind": "timed_out", "limit": 1.0}, "exit_code": 124, "usage": {}}),
        ];
        let jobs: Vec<_> = jobs.iter().map(|job| serde_json::from_value(job.clone()).unwrap()).collect();
        let table = table(&jobs, "2026-01-01T01:00:00Z".parse().unwrap());
        let expected = [
            "JOB           HANDLER    STATE      AGE         RAN FOR  PEAK MEMORY",
            "00ff00ff00ff  wc         running    just now    1.5 s    64.0 KiB",
            "11ff00ff00ff  thumbnail  timed out  1 hour ago  0.00 ms  0 B",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn why_a_job_failed_is_told_where_one_has() {
        let job = |error: &str| {
            json!({"id": "00ff00ff00ff00ff00ff00ff00ff00ff", "handler": "wc", "state": "done", "created": "2026-01-01T00:59:59Z",
                "outcome": {"kind": "exited", "code": 3}, "exit_code": 3, "error": error, "usage": {}})
        };
        let jobs: Vec<_> =
            [job("no such file"), job(&"x".repeat(100))].map(|job| serde_json::from_value(job).unwrap()).into();
        let table = table(&jobs, "2026-01-01T01:00:00Z".parse().unwrap());
        let rows: Vec<_> = table.lines().collect();
        assert!(rows[0].ends_with("PEAK MEMORY  ERROR") && rows[1].ends_with("0 B          no such file"), "{table}");
        assert!(rows[2].ends_with("xxx…"), "{table}");
    }

    #[test]
    fn a_job_that_went_on_between_two_questions_is_told_once() {
        let job = |id: &str, state: &str, created: &str| json!({"id": id, "state": state, "created": created});
        let queued = vec![job("c", "queued", "2026-01-01T00:00:03.5Z"), job("b", "queued", "2026-01-01T00:00:02Z")];
        let running = vec![job("b", "running", "2026-01-01T00:00:02Z"), job("a", "running", "2026-01-01T00:00:01Z")];
        let jobs = joined(vec![queued, running]);
        let told: Vec<_> = jobs.iter().map(|job| (job["id"].as_str(), job["state"].as_str())).collect();
        assert_eq!(told, [(Some("c"), Some("queued")), (Some("b"), Some("running")), (Some("a"), Some("running"))]);
    }
}
