//! `capstan stats`: what running jobs use, once a second; or what all jobs of each handler have used.

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
use super::jobs::{self, Record};
use super::{output, show};

/// How often the daemon is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// What takes a terminal's cursor to the top, and what stood there away.
const REDRAW: &str = "\x1b[H\x1b[2J";

/// What `capstan stats` is called with.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Print a JSON object on a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Show what it is now and end.
    #[arg(long)]
    no_stream: bool,
    /// Show what the jobs of each handler have used since the daemon was started, those that have ended.
    #[arg(long)]
    by_handler: bool,
}

/// What the jobs had computed when they were last seen, and when that was.
#[derive(Debug, Default)]
struct Seen {
    computed: HashMap<JobId, f64>,
    at: Option<Instant>,
}

/// A job, and the share of one processor that it took since it was last seen, in percent.
#[derive(Debug)]
struct Row {
    job: Record,
    cpu_percent: f64,
}

impl Stats {
    /// Asks and shows, until the user interrupts.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let redraw = !self.json && !self.no_stream && io::stdout().is_terminal();
        let mut seen = Seen::default();
        let mut clock = interval(PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let text = if self.by_handler {
                let totals = totals::ask(client).await?;
                if self.json { totals::to_json(&totals, Timestamp::now()) } else { totals::table(&totals) }
            } else {
                let rows = seen.rows(running(client).await?, Instant::now());
                if self.json { to_json(&rows, Timestamp::now()) } else { table(&rows) }
            };
            output::print(format!("{}{text}", if redraw { REDRAW } else { "" }).as_bytes())?;
            if self.no_stream {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

async fn running(client: &Client) -> Result<Vec<Record>, ClientError> {
    let jobs = jobs::list(client, &[("state", "running".to_owned())], None).await?;
    jobs.iter().map(|job| Record::read(client, job)).collect()
}

impl Seen {
    /// The jobs with their shares since the last call; a job that is new has its share since it began.
    fn rows(&mut self, jobs: Vec<Record>, now: Instant) -> Vec<Row> {
        let between = self.at.map(|at| now.duration_since(at).as_secs_f64());
        let before = std::mem::take(&mut self.computed);
        self.at = Some(now);
        self.computed = jobs.iter().map(|job| (job.id, job.usage.cpu_seconds)).collect();
        let row = |job: Record| {
            let (computed, time) = match (before.get(&job.id), between) {
                (Some(before), Some(between)) => (job.usage.cpu_seconds - before, between),
                _ => (job.usage.cpu_seconds, job.usage.run_seconds),
            };
            let cpu_percent = if time > 0.0 { (computed / time * 100.0).max(0.0) } else { 0.0 };
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
            show::short(job.id),
            job.handler.clone(),
            show::seconds(usage.run_seconds),
            format!("{cpu_percent:.1} %"),
            show::size(usage.memory_peak),
            show::size(usage.stdin_bytes),
            show::size(usage.stdout_bytes + usage.stderr_bytes),
        ]
    };
    show::table(&header, rows.iter().map(row))
}

fn to_json(rows: &[Row], at: Timestamp) -> String {
    let job = |Row { job, cpu_percent }: &Row| json!({"id": job.id, "handler": job.handler, "cpu_percent": cpu_percent, "usage": job.usage});
    format!("{}\n", json!({"at": at, "jobs": rows.iter().map(job).collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn job(cpu_seconds: f64, run_seconds: f64) -> Record {
        let job = json!({
            "id": "00ff00ff00ff00ff00ff00ff00ff00ff", "handler": "wc", "state": "running", "created": "2026-01-01T00:00:00Z",
            "usage": {"cpu_seconds": cpu_seconds, "run_seconds": run_seconds, "memory_peak": 65536, "stdin_bytes": 10,
                "stdout_bytes": 1, "stderr_bytes": 2},
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_share_is_that_since_the_last_look() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let mut share = |job, at| seen.rows(vec![job], now + Duration::from_secs(at))[0].cpu_percent;
        assert_eq!(share(job(1.0, 4.0), 0), 25.0);
        assert_eq!(share(job(3.0, 6.0), 2), 100.0);
        assert_eq!(share(job(3.0, 7.0), 3), 0.0);
    }

    #[test]
    fn a_job_that_has_just_begun_has_no_share() {
        assert_eq!(Seen::default().rows(vec![job(0.0, 0.0)], Instant::now())[0].cpu_percent, 0.0);
    }

    #[test]
    fn shares_are_a_table_and_json() {
        let rows = Seen::default().rows(vec![job(0.5, 1.0)], Instant::now());
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
