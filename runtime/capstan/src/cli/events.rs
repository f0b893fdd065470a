//! `capstan events`: what happens at the daemon, as it happens.

use std::process::ExitCode;

use bytes::BytesMut;
use capstan_engine::job::JobId;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{Client, with_query};
use super::error::CliError;
use super::time::Moment;
use super::{output, show};

/// Bytes of the longest line there may be.
const MAX_LINE: usize = 1 << 20;

/// What `capstan events` is called with.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Begin with what happened since a time or within the last 10m, as far as it is still known, or after the event of a number.
    #[arg(long, value_name = "TIME|NUMBER", value_parser = place)]
    since: Option<String>,
    /// End with what happened until a time, 0s for what there is by now, or with the event of a number.
    #[arg(long, value_name = "TIME|NUMBER", value_parser = place)]
    until: Option<String>,
    /// Show only events of this kind, handler, job or outcome: event=job.end, handler=NAME, job=ID, outcome=trapped. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter)]
    filter: Vec<String>,
    /// Print what the daemon says: a JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Lines of a text that arrives in pieces.
#[derive(Debug, Default)]
struct Lines(BytesMut);

impl Events {
    /// Prints events until the daemon ends, the user interrupts, or `--until` is reached.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let mut query: Vec<_> = self.since.map(|since| ("since", since)).into_iter().collect();
        query.extend(self.until.map(|until| ("until", until)));
        query.extend(self.filter.into_iter().map(|filter| ("filter", filter)));
        let mut answer = client.follow(&with_query("/events", query), "application/x-ndjson").await?;
        let mut lines = Lines::default();
        while let Some(bytes) = answer.chunk().await? {
            lines.0.extend_from_slice(&bytes);
            let mut text = String::new();
            while let Some(line) = lines.next() {
                let event: Value = serde_json::from_slice(&line).map_err(|error| client.foreign(&error))?;
                text += &if self.json { event.to_string() } else { sentence(&event) };
                text.push('\n');
            }
            if lines.0.len() > MAX_LINE {
                return Err(client.foreign(&"it sends an event that is too long").into());
            }
            output::print(text.as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Lines {
    /// The next whole line that is not empty, without its end.
    fn next(&mut self) -> Option<BytesMut> {
        loop {
            let end = self.0.iter().position(|byte| *byte == b'\n')?;
            let mut line = self.0.split_to(end + 1);
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

/// Where to begin or to end, in the daemon's words: the number of an event, or a time.
fn place(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    text.parse::<Moment>()
        .map(|moment| moment.to_string())
        .map_err(|error| format!("{error}, or the number of an event"))
}

fn filter(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("expected KEY=VALUE"),
    }
}

/// An event as people read it: time, what, handler, job, and what there is besides.
fn sentence(event: &Value) -> String {
    if let Some(missed) = event["gap"].as_u64() {
        return format!("{missed} events are missing here: they were too many to be read in time");
    }
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let time = text("at").parse::<Timestamp>().map_or_else(|_| text("at").to_owned(), |time| format!("{time:.3}"));
    let mut words = vec![time, format!("{:<14}", text("event")), format!("{:<14}", text("handler"))];
    words.extend(text("job").parse::<JobId>().map(show::short));
    words.extend(text("parent").parse::<JobId>().map(|parent| format!("for {}", show::short(parent))));
    words.extend(event["digest"].as_str().map(|digest| show::digest(digest).to_owned()));
    words.extend((event["replaced"] == true).then(|| "replaced".to_owned()));
    words.extend(event["outcome"].as_str().map(|outcome| match (outcome, &event["exit_code"]) {
        ("exited", Value::Number(code)) => format!("exited {code}"),
        (outcome, _) => show::words(outcome),
    }));
    words.extend(event["error"].as_str().map(str::to_owned));
    words.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use capstan_engine::events::{Event, EventKind};

    use super::*;

    fn told(kind: EventKind) -> String {
        let at = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        sentence(&serde_json::to_value(Event { seq: 1, at, kind }).unwrap())
    }

    #[test]
    fn every_event_is_a_line() {
        let job: JobId = "00ff00ff00ff00ff00ff00ff00ff00ff".parse().unwrap();
        let handler = || "wc".to_owned();
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
                EventKind::DaemonReload { error: Some("no".into()) },
                "2026-01-01T00:00:00.123Z  daemon.reload                   no",
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
            assert_eq!(told(what), line);
        }
        let gap = sentence(&serde_json::json!({"gap": 7}));
        assert!(gap.starts_with("7 events are missing"), "{gap}");
    }

    #[test]
    fn lines_survive_any_splitting() {
        let text = b"{\"a\":1}\n\r\n{}\r\n{\"b";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.0.extend_from_slice(piece);
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], b"{}"], "{size}");
            assert_eq!(lines.0, &b"{\"b"[..]);
        }
    }

    #[test]
    fn a_place_is_a_number_or_a_time() {
        assert_eq!(place("17").as_deref(), Ok("17"));
        assert_eq!(place("2026-01-01T00:00:00Z").as_deref(), Ok("2026-01-01T00:00:00Z"));
        assert!(place("10m").unwrap().ends_with('Z'));
        for text in ["", "-1", "1.5", "soon"] {
            assert!(place(text).unwrap_err().contains("the number of an event"), "{text}");
        }
    }

    #[test]
    fn a_filter_has_a_key() {
        assert_eq!(filter("event=job.end").as_deref(), Ok("event=job.end"));
        assert!(filter("job.end").is_err() && filter("=x").is_err());
    }
}
