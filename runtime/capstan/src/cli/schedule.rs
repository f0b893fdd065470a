//! `capstan schedule`: jobs that are submitted again and again, or once at a later time.

mod put;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use self::put::Put;
use super::client::{Client, URL_ENCODE_SET};
use super::environment::Environment;
use super::error::CliError;
use super::removal::remove_all;
use super::{format, output};

const HEADER: [&str; 7] = ["NAME", "TIMES", "HANDLER", "FROM", "STATE", "NEXT", "LAST"];
/// The maximum number of characters of an error in the table. `inspect` shows all of it.
const MAX_ERROR: usize = 48;

/// The command line of `capstan schedule`.
#[derive(Debug, Args)]
pub(super) struct ScheduleCommand {
    /// Print the response of the daemon as JSON [default: text]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all schedules (the default)
    Ls,
    /// Create a schedule, or give it another definition
    ///
    /// Prints its next times. A schedule that is paused stays paused.
    #[command(
        override_usage = "capstan schedule put [OPTIONS] <--cron PATTERN|--every TIME|--at TIME> NAME HANDLER [ARGS]...\n       \
                          capstan schedule put NAME --file FILE",
        after_help = "\
Examples:
  capstan schedule put nightly --cron '30 2 * * *' --time-zone Europe/Berlin report --all
  capstan schedule put poll --every 30s --overlap skip poll
  capstan schedule put launch --at 2027-01-31T12:00:00Z announce
  capstan schedule put nightly --file nightly.json"
    )]
    Put(Box<Put>),
    /// Show everything that the daemon knows about a schedule, with its next five times
    Inspect { name: String },
    /// Remove schedules. Their jobs stay
    Rm {
        /// Names of the schedules. If one cannot be removed, the command continues with the others
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Submit no jobs until the schedule is resumed. Times that pass meanwhile are not made up for
    Pause { name: String },
    /// Submit jobs again, from the next time on
    Resume { name: String },
    /// Submit the job of a schedule now, and print its id
    Run { name: String },
}

impl ScheduleCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client, environment: &Environment) -> Result<ExitCode, CliError> {
        let json = self.json;
        match self.action.unwrap_or(Action::Ls) {
            Action::Ls => {
                let list = client.call(Method::GET, "/schedules").await?;
                if json { output::print_json(&list)? } else { output::print(table(&list).as_bytes())? }
            }
            Action::Put(put) => {
                let definition = put.definition(environment)?;
                let schedule = client.call_with_json(Method::PUT, &path(&put.name, ""), &definition).await?;
                print_times(&schedule, json)?;
            }
            Action::Inspect { name } => {
                output::print_fields(&client.call(Method::GET, &path(&name, "")).await?, json)?;
            }
            Action::Rm { names } => return remove_all(client, &names, |name| path(name, ""), json).await,
            Action::Pause { name } => {
                let schedule = client.call(Method::POST, &path(&name, "/pause")).await?;
                if json { output::print_json(&schedule)? } else { output::print(format!("{name}\n").as_bytes())? }
            }
            Action::Resume { name } => {
                print_times(&client.call(Method::POST, &path(&name, "/resume")).await?, json)?;
            }
            Action::Run { name } => {
                let job = client.call(Method::POST, &path(&name, "/run")).await?;
                let id = job["id"].as_str().unwrap_or_default();
                if json { output::print_json(&job)? } else { output::print(format!("{id}\n").as_bytes())? }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn path(name: &str, action: &str) -> String {
    format!("/schedules/{}{action}", utf8_percent_encode(name, URL_ENCODE_SET))
}

/// Prints the next times of a schedule, one per line.
fn print_times(schedule: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return output::print_json(schedule);
    }
    if schedule["paused"] == true {
        output::print_note("the schedule is paused; start it with `capstan schedule resume`");
    }
    next_times(schedule).try_for_each(|time| output::print(format!("{time}\n").as_bytes()))
}

fn next_times(schedule: &Value) -> impl Iterator<Item = &str> {
    schedule["next"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Formats the schedules of `GET /schedules`.
fn table(list: &Value) -> String {
    format::table(&HEADER, list["schedules"].as_array().into_iter().flatten().map(row))
}

fn row(schedule: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let definition = &schedule["definition"];
    let zone = text(&definition["time_zone"]).map_or_else(String::new, |zone| format!(" ({zone})"));
    let cron = text(&definition["cron"]).map(|pattern| pattern + &zone);
    let every = definition["every"].as_f64().map(|seconds| format!("every {}", format::seconds(seconds)));
    let at = text(&definition["at"]).map(|time| format!("at {time}"));
    let state = match (text(&schedule["error"]), next_times(schedule).next()) {
        (Some(error), _) => format::truncate_line(MAX_ERROR, &error),
        _ if schedule["paused"] == true => "paused".to_owned(),
        (None, Some(_)) => "active".to_owned(),
        (None, None) => "ended".to_owned(),
    };
    let is_from_manifest = schedule["manifest"].is_string();
    vec![
        text(&schedule["name"]).unwrap_or_default(),
        cron.or(every).or(at).unwrap_or_else(|| "-".to_owned()),
        text(&definition["job"]["handler"]).unwrap_or_else(|| "-".to_owned()),
        if is_from_manifest { "manifest" } else { "request" }.to_owned(),
        state,
        next_times(schedule).next().map_or_else(|| "-".to_owned(), whole_seconds),
        text(&schedule["last"]).map_or_else(|| "-".to_owned(), |time| whole_seconds(&time)),
    ]
}

/// Formats a time without fractions of a second.
fn whole_seconds(time: &str) -> String {
    time.parse::<Timestamp>().map_or_else(|_| time.to_owned(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schedules_are_formatted_as_table() {
        let job = json!({"handler": "report"});
        let list = json!({"schedules": [
            {"name": "nightly", "manifest": "report", "paused": false, "last": "2026-01-01T01:30:00Z", "next": ["2026-01-02T01:30:00Z"], "error": null,
                "definition": {"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "job": job}},
            {"name": "odd", "manifest": null, "paused": false, "last": null, "next": [], "error": "cannot read the schedule", "definition": {"lunar": 1}},
            {"name": "once", "paused": false, "last": "2026-01-01T01:30:00.5Z", "next": [], "error": null,
                "definition": {"at": "2026-01-01T01:30:00.5Z", "job": job}},
            {"name": "poll", "paused": true, "last": null, "next": [], "error": null, "definition": {"every": 90.0, "job": job}},
        ]});
        let expected = [
            "NAME     TIMES                       HANDLER  FROM      STATE                     NEXT                  LAST",
            "nightly  30 2 * * * (Europe/Berlin)  report   manifest  active                    2026-01-02T01:30:00Z  2026-01-01T01:30:00Z",
            "odd      -                           -        request   cannot read the schedule  -                     -",
            "once     at 2026-01-01T01:30:00.5Z   report   request   ended                     -                     2026-01-01T01:30:00Z",
            "poll     every 1m 30s                report   request   paused                    -                     -",
        ];
        assert_eq!(table(&list).lines().collect::<Vec<_>>(), expected);
    }
}
