//! `capstan events`: prints the events of the daemon as they happen.

mod follow;

use std::process::ExitCode;

use capstan_core::units;
use capstan_engine::job::JobId;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use self::follow::Follower;
use super::client::Client;
use super::error::CliError;
use super::format;
use super::time_arg::TimeArg;

/// The command line of `capstan events`.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Start at a time, this long ago, or after event NUMBER [default: only new events]
    ///
    /// The daemon keeps the last 4096 events, unless its configuration says otherwise. Examples: 2026-01-31T12:00:00Z, 10m, 17
    #[arg(long, value_name = "TIME|NUMBER", value_parser = parse_position)]
    since: Option<String>,
    /// End at a time, this long ago, or with event NUMBER [default: never]
    ///
    /// `0s` prints the events so far and does not wait for more.
    #[arg(long, value_name = "TIME|NUMBER", value_parser = parse_position)]
    until: Option<String>,
    /// Print only matching events. May be repeated [default: all]
    ///
    /// Keys: event=job.end, handler=NAME, job=ID, outcome=trapped. Filters with the same key match if any of them matches. Filters
    /// with different keys must all match.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<String>,
    /// Print one JSON object per line [default: text]
    #[arg(long)]
    json: bool,
}

impl Events {
    /// Prints events until the user interrupts, or `--until` is reached. Connects again when the daemon has stopped or the connection breaks.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let mut query: Vec<_> = self.until.map(|until| ("until", until)).into_iter().collect();
        let ends = !query.is_empty();
        query.extend(self.filter.into_iter().map(|filter| ("filter", filter)));
        let format: fn(&Value) -> String = if self.json { ToString::to_string } else { event_line };
        Follower::new(client, query, self.since, ends, format).run().await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses the number of an event, or a time, into the form that the API expects.
fn parse_position(text: &str) -> Result<String, String> {
    if !units::is_unix_time(text) && text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    text.parse::<TimeArg>().map(|time| time.to_string()).map_err(|error| format!("{error}, or the number of an event"))
}

fn parse_filter(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("expected KEY=VALUE, for example event=job.end"),
    }
}

/// Formats an event as a line of text: time, event, handler, job, then the other fields.
fn event_line(event: &Value) -> String {
    if let Some(at) = event["restarted"].as_str() {
        let what = match event["gap"].as_u64() {
            Some(count) => format!("{count} events before that are missing here"),
            None => "events before that may be missing here".to_owned(),
        };
        return format!(
            "the daemon started at {at}; {what}: `capstan ps -a --ended-since TIME` lists jobs that have ended"
        );
    }
    if let Some(count) = event["gap"].as_u64() {
        return format!("{count} events are missing here: they came faster than they were read, or are no longer kept");
    }
    let field = |name: &str| event[name].as_str().unwrap_or_default();
    let time = field("at").parse::<Timestamp>().map_or_else(|_| field("at").to_owned(), |time| format!("{time:.3}"));
    let mut columns = vec![time, format!("{:<14}", field("event")), format!("{:<14}", field("handler"))];
    columns.extend(field("job").parse::<JobId>().map(format::short_id));
    columns.extend(field("parent").parse::<JobId>().map(|parent| format!("for {}", format::short_id(parent))));
    columns.extend(event["digest"].as_str().map(|digest| format::digest(digest).to_owned()));
    columns.extend((event["replaced"] == true).then(|| "replaced".to_owned()));
    columns.extend(event["outcome"].as_str().map(|outcome| match (outcome, &event["exit_code"]) {
        ("exited", Value::Number(code)) => format!("exited {code}"),
        (outcome, _) => format::token_words(outcome),
    }));
    // An error of a configuration file may have several lines.
    columns.extend(event["error"].as_str().map(|error| error.lines().map(str::trim).collect::<Vec<_>>().join("; ")));
    columns.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use capstan_engine::events::{Event, EventKind};

    use super::*;

    fn line_for(kind: EventKind) -> String {
        let at = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        event_line(&serde_json::to_value(Event { seq: 1, at, kind }).unwrap())
    }

    #[test]
    fn every_event_is_formatted_as_a_line() {
        let job: JobId = "00ff00ff00ff00ff00ff00ff00ff00ff".parse().unwrap();
        let handler = || std::sync::Arc::from("wc");
        let digest = Some("sha256:0123456789abcdef".to_owned());
        for (what, line) in [
            (
                EventKind::HandlerPut { handler: handler(), digest, replaced: true },
                "2026-01-01T00:00:00.123Z  handler.put     wc              sha256:0123456789ab  replaced",
            ),
            (EventKind::HandlerRemove { handler: handler() }, "2026-01-01T00:00:00.123Z  handler.remove  wc"),
            (
                EventKind::JobQueue { job, handler: handler() },
                "2026-01-01T00:00:00.123Z  job.queue       wc              00ff00ff00ff",
            ),
            (EventKind::DaemonStop, "2026-01-01T00:00:00.123Z  daemon.stop"),
            (
                EventKind::DaemonReload { error: Some("no\n  at all".into()) },
                "2026-01-01T00:00:00.123Z  daemon.reload                   no; at all",
            ),
            (
                EventKind::JobStart { job, handler: handler(), parent: Some(job) },
                "2026-01-01T00:00:00.123Z  job.start       wc              00ff00ff00ff  for 00ff00ff00ff",
            ),
            (
                EventKind::JobEnd { job, handler: handler(), outcome: "exited".into(), exit_code: 3 },
                "2026-01-01T00:00:00.123Z  job.end         wc              00ff00ff00ff  exited 3",
            ),
            (
                EventKind::JobEnd { job, handler: handler(), outcome: "timed_out".into(), exit_code: 124 },
                "2026-01-01T00:00:00.123Z  job.end         wc              00ff00ff00ff  timed out",
            ),
        ] {
            assert_eq!(line_for(what), line);
        }
        let gap = event_line(&serde_json::json!({"gap": 7}));
        assert!(gap.starts_with("7 events are missing"), "{gap}");
        let restart = |gap: Value| event_line(&serde_json::json!({"gap": gap, "restarted": "2026-01-01T00:00:00Z"}));
        assert!(restart(7.into()).starts_with("the daemon started at 2026-01-01T00:00:00Z; 7 events"));
        assert!(restart(Value::Null).contains("may be missing"));
    }

    #[test]
    fn position_is_a_number_or_a_time() {
        assert_eq!(parse_position("17").as_deref(), Ok("17"));
        assert_eq!(parse_position("2026-01-01T00:00:00Z").as_deref(), Ok("2026-01-01T00:00:00Z"));
        assert!(parse_position("10m").unwrap().ends_with('Z'));
        assert_eq!(parse_position("1769860800").as_deref(), Ok("2026-01-31T12:00:00Z"));
        for text in ["", "-1", "soon"] {
            assert!(parse_position(text).unwrap_err().contains("the number of an event"), "{text}");
        }
    }

    #[test]
    fn filter_must_have_a_key() {
        assert_eq!(parse_filter("event=job.end").as_deref(), Ok("event=job.end"));
        assert!(parse_filter("job.end").is_err() && parse_filter("=x").is_err());
    }
}
