//! `capstan ps`: lists jobs.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::job_filter::JobFilterArgs;
use super::jobs::{self, JobRecord};
use super::{format, output};

const HEADER: [&str; 7] = ["JOB", "HANDLER", "STATE", "AGE", "RAN FOR", "PEAK MEMORY", "ERROR"];
/// The maximum number of characters of an error in the table. `inspect` shows all of it.
const MAX_ERROR: usize = 48;

/// The command line of `capstan ps`.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Also list jobs that have ended [default: only running and waiting jobs]
    #[arg(short, long)]
    all: bool,
    /// Only jobs in these states, separated by commas: scheduled, waiting, queued, running, retrying, done, dead [default: see -a]
    #[arg(long, value_name = "STATES", conflicts_with = "all")]
    state: Option<String>,
    #[command(flatten)]
    filter: JobFilterArgs,
    /// Maximum number of jobs, newest first [default: no limit]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only the ids, with all digits [default: a table]
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print the jobs as JSON [default: a table]
    #[arg(long)]
    json: bool,
}

impl Ps {
    /// Lists the jobs.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let jobs = self.list(client).await?;
        if self.json {
            output::print_json(&json!({"jobs": jobs}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let records = jobs.iter().map(|job| JobRecord::from_json(client, job)).collect::<Result<Vec<_>, _>>()?;
        let text = if self.quiet {
            records.iter().map(|record| format!("{}\n", record.id)).collect()
        } else {
            table(&records, Timestamp::now())
        };
        output::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn list(&self, client: &Client) -> Result<Vec<Value>, ClientError> {
        let mut filter = self.filter.query();
        let unfinished = (!self.all).then(|| jobs::UNFINISHED.to_owned());
        filter.extend(self.state.clone().or(unfinished).map(|states| ("state", states)));
        jobs::list(client, &filter, self.limit).await
    }
}

/// Formats jobs as a table. It has a column for errors only if a job has failed.
pub(super) fn table(jobs: &[JobRecord], now: Timestamp) -> String {
    let digits = format::distinct_digits(jobs.iter().map(|job| job.id));
    let columns = if jobs.iter().any(|job| job.error.is_some()) { HEADER.len() } else { HEADER.len() - 1 };
    let rows = jobs.iter().map(|job| {
        let mut row = vec![
            format::first_digits(job.id, digits),
            job.handler.clone(),
            job.status(),
            job.age(now),
            format::seconds(job.usage.run_seconds),
            format::size(job.usage.memory_peak),
            format::truncate_line(MAX_ERROR, job.error.as_deref().unwrap_or_default()),
        ];
        row.truncate(columns);
        row
    });
    format::table(&HEADER[..columns], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_formatted_as_table() {
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
    fn error_column_is_shown_if_a_job_failed() {
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
}
