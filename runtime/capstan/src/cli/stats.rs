//! `capstan stats`: shows once per second what running jobs use, or what all ended jobs of each handler have used.

mod totals;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use capstan_engine::job::JobId;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::jobs::{self, JobRecord};
use super::{format, output};

/// The time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// The escape sequence that moves the cursor of a terminal to the top and clears the screen.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// The command line of `capstan stats`.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Print each update as one JSON object per line [default: a table]
    #[arg(long)]
    json: bool,
    /// Print one update and exit [default: one per second]
    #[arg(long)]
    no_stream: bool,
    /// Show what all ended jobs of each handler have used since the daemon started [default: running jobs]
    #[arg(long)]
    by_handler: bool,
}

/// The CPU times of jobs at the last update, from which the CPU shares at the next one follow.
#[derive(Debug, Default)]
struct CpuSampler {
    cpu_seconds: HashMap<JobId, f64>,
    sampled_at: Option<Instant>,
}

/// A job, and its share of one processor since the last update, in percent.
#[derive(Debug)]
struct Row {
    job: JobRecord,
    cpu_percent: f64,
}

impl Stats {
    /// Prints updates until the user interrupts.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let clear_screen = !self.json && !self.no_stream && io::stdout().is_terminal();
        let mut sampler = CpuSampler::default();
        let mut ticks = interval(UPDATE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let text = if self.by_handler {
                let totals = totals::fetch(client).await?;
                if self.json { totals::to_json(&totals, Timestamp::now()) } else { totals::table(&totals) }
            } else {
                let rows = sampler.rows(running_jobs(client).await?, Instant::now());
                if self.json { to_json(&rows, Timestamp::now()) } else { table(&rows) }
            };
            output::print(format!("{}{text}", if clear_screen { CLEAR_SCREEN } else { "" }).as_bytes())?;
            if self.no_stream {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

async fn running_jobs(client: &Client) -> Result<Vec<JobRecord>, ClientError> {
    let jobs = jobs::list(client, &[("state", "running".to_owned())], None).await?;
    jobs.iter().map(|job| JobRecord::from_json(client, job)).collect()
}

impl CpuSampler {
    /// Returns the jobs with their CPU shares since the last call. The share of a new job is that since its run started.
    fn rows(&mut self, jobs: Vec<JobRecord>, now: Instant) -> Vec<Row> {
        let elapsed = self.sampled_at.map(|at| now.duration_since(at).as_secs_f64());
        let previous = std::mem::take(&mut self.cpu_seconds);
        self.sampled_at = Some(now);
        self.cpu_seconds = jobs.iter().map(|job| (job.id, job.usage.cpu_seconds)).collect();
        let row = |job: JobRecord| {
            let (cpu_seconds, seconds) = match (previous.get(&job.id), elapsed) {
                (Some(previous), Some(elapsed)) => (job.usage.cpu_seconds - previous, elapsed),
                _ => (job.usage.cpu_seconds, job.usage.run_seconds),
            };
            let cpu_percent = if seconds > 0.0 { (cpu_seconds / seconds * 100.0).max(0.0) } else { 0.0 };
            Row { job, cpu_percent }
        };
        jobs.into_iter().map(row).collect()
    }
}

fn table(rows: &[Row]) -> String {
    let header = ["JOB", "HANDLER", "RAN FOR", "CPU", "PEAK MEMORY", "IN", "OUT"];
    let row = |Row { job, cpu_percent }: &Row| {
        let usage = &job.usage;
        vec![
            format::short_id(job.id),
            job.handler.clone(),
            format::seconds(usage.run_seconds),
            format!("{cpu_percent:.1} %"),
            format::size(usage.memory_peak),
            format::size(usage.stdin_bytes),
            format::size(usage.stdout_bytes + usage.stderr_bytes),
        ]
    };
    format::table(&header, rows.iter().map(row))
}

fn to_json(rows: &[Row], at: Timestamp) -> String {
    let job = |Row { job, cpu_percent }: &Row| json!({"id": job.id, "handler": job.handler, "cpu_percent": cpu_percent, "usage": job.usage});
    format!("{}\n", json!({"at": at, "jobs": rows.iter().map(job).collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn job(cpu_seconds: f64, run_seconds: f64) -> JobRecord {
        let job = json!({
            "id": "00ff00ff00ff00ff00ff00ff00ff00ff", "handler": "wc", "state": "running", "created": "2026-01-01T00:00:00Z",
            "usage": {"cpu_seconds": cpu_seconds, "run_seconds": run_seconds, "memory_peak": 65536, "stdin_bytes": 10,
                "stdout_bytes": 1, "stderr_bytes": 2},
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn cpu_share_is_that_since_last_update() {
        let (mut sampler, now) = (CpuSampler::default(), Instant::now());
        let mut share = |job, at| sampler.rows(vec![job], now + Duration::from_secs(at))[0].cpu_percent;
        assert_eq!(share(job(1.0, 4.0), 0), 25.0);
        assert_eq!(share(job(3.0, 6.0), 2), 100.0);
        assert_eq!(share(job(3.0, 7.0), 3), 0.0);
    }

    #[test]
    fn job_that_has_just_started_has_no_cpu_share() {
        assert_eq!(CpuSampler::default().rows(vec![job(0.0, 0.0)], Instant::now())[0].cpu_percent, 0.0);
    }

    #[test]
    fn stats_are_formatted_as_table_and_json() {
        let rows = CpuSampler::default().rows(vec![job(0.5, 1.0)], Instant::now());
        let expected = [
            "JOB           HANDLER  RAN FOR  CPU     PEAK MEMORY  IN    OUT",
            "00ff00ff00ff  wc       1 s      50.0 %  64.0 KiB     10 B  3 B",
        ];
        assert_eq!(table(&rows).lines().collect::<Vec<_>>(), expected);
        let json: Value = serde_json::from_str(&to_json(&rows, Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(json["jobs"][0]["cpu_percent"], 50.0);
        assert_eq!(json["jobs"][0]["usage"]["stdin_bytes"], 10);
    }
}
