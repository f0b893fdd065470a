//! Text for people: sizes, durations, ids, outcomes and tables.

use capstan_core::outcome::{NetworkLimit, Outcome};
use capstan_engine::job::JobId;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::Value;

/// The number of digits of a job id in a table.
const SHORT_ID: usize = 12;

/// Formats a number of bytes: `10 B`, `1.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Shortens a digest to its algorithm and 12 digits: `sha256:0123456789ab`.
pub(super) fn digest(digest: &str) -> &str {
    let end = digest.find(':').map_or(0, |colon| colon + 1) + 12;
    digest.get(..end).unwrap_or(digest)
}

/// Returns the first line of `text`, at most `max_chars` characters. An ellipsis at the end shows that something is missing.
pub(super) fn truncate_line(max_chars: usize, text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.trim_end().len() && line.chars().count() <= max_chars {
        return line.to_owned();
    }
    let start: String = line.chars().take(max_chars.saturating_sub(1)).collect();
    start.trim_end().to_owned() + "…"
}

/// Returns the first 12 digits of a job id.
pub(super) fn short_id(id: JobId) -> String {
    first_digits(id, SHORT_ID)
}

/// Returns the first `digits` digits of a job id.
pub(super) fn first_digits(id: JobId, digits: usize) -> String {
    let mut text = id.to_string();
    text.truncate(digits);
    text
}

/// Returns how many digits tell `ids` apart, but at least as many as [`short_id`] has. Ids of jobs that were submitted together start alike.
pub(super) fn distinct_digits(ids: impl IntoIterator<Item = JobId>) -> usize {
    let mut ids: Vec<_> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.sort_unstable();
    let common = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    ids.windows(2).map(|pair| common(pair) + 1).max().unwrap_or(0).clamp(SHORT_ID, 32)
}

/// Formats an outcome in a few words: `exited 0`, `trapped unreachable`, `timed out`.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited {code}"),
        Outcome::Trapped { trap, .. } => format!("trapped {trap}"),
        Outcome::OutputCap { stream, .. } => format!("{stream} cap"),
        Outcome::Cancelled { by } => format!("cancelled by {by}"),
        Outcome::NetworkCap { resource: NetworkLimit::Connections, .. } => "connections cap".to_owned(),
        Outcome::NetworkCap { resource: NetworkLimit::Traffic, .. } => "traffic cap".to_owned(),
        other => token_words(other.kind()),
    }
}

/// Replaces the underscores of a token with spaces: `timed out` for `timed_out`.
pub(super) fn token_words(token: &str) -> String {
    token.replace('_', " ")
}

/// Formats a number of seconds: `45 ms`, `1.5 s`, `1h`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        let millis = seconds * 1000.0;
        return if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") };
    }
    if seconds < 60.0 {
        return format!("{} s", (seconds * 100.0).round() / 100.0);
    }
    std::time::Duration::try_from_secs_f64(seconds.round())
        .map_or_else(|_| format!("{seconds} s"), |duration| humantime::format_duration(duration).to_string())
}

/// Formats how long before `now` a time was: `just now`, `5 minutes ago`. Returns a text that is not a time unchanged.
pub(super) fn age(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = now.duration_since(then).as_secs();
    let (count, unit) = match seconds {
        ..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400.. => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Formats a table without lines, with two spaces between the columns.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Formats a JSON object as a table of two columns, name and value. The name of a nested field has the form `outer.inner`.
pub(super) fn fields(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    table(&[], rows)
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, rows);
            }
        }
        value => rows.push(vec![path.to_owned(), field_value(path.rsplit('.').next().unwrap_or(path), value)]),
    }
}

fn field_value(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(values) => values.iter().map(|value| field_value(name, value)).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match (name, number.as_u64(), number.as_f64()) {
            (
                "size" | "memory" | "stdout" | "stderr" | "hostcall" | "upload" | "disk" | "scratch" | "traffic"
                | "keyvalue",
                Some(bytes),
                _,
            ) => size(bytes),
            ("timeout" | "grace" | "uptime", _, Some(duration)) => seconds(duration),
            _ => number.to_string(),
        },
        Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_digits_tell_ids_apart() {
        let id = |text: &str| format!("{text:0<32}").parse::<JobId>().unwrap();
        assert_eq!(distinct_digits([]), 12);
        assert_eq!(distinct_digits([id("1"), id("2")]), 12);
        assert_eq!(distinct_digits([id("abcdabcdabcdab1"), id("2"), id("abcdabcdabcdab2")]), 15);
    }

    #[test]
    fn duration_is_formatted_in_fitting_unit() {
        for (value, text) in [
            (0.000_25, "0.25 ms"),
            (0.045, "45 ms"),
            (1.0, "1 s"),
            (1.234, "1.23 s"),
            (59.0, "59 s"),
            (3661.0, "1h 1m 1s"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn outcome_is_formatted_in_few_words() {
        use capstan_core::outcome::{CancelledBy, OutputStream};
        for (value, text) in [
            (Outcome::SUCCESS, "exited 0"),
            (
                Outcome::Trapped { trap: "unreachable".into(), message: "m".into(), backtrace: vec![] },
                "trapped unreachable",
            ),
            (Outcome::TimedOut { limit: 1.0 }, "timed out"),
            (Outcome::OutputCap { stream: OutputStream::Stdout, limit: 1 }, "stdout cap"),
            (Outcome::Cancelled { by: CancelledBy::Client }, "cancelled by client"),
        ] {
            assert_eq!(outcome(&value), text);
        }
    }

    #[test]
    fn digest_is_shortened() {
        assert_eq!(digest("sha256:0123456789abcdef"), "sha256:0123456789ab");
        assert_eq!(digest("sha256:0123"), "sha256:0123");
    }

    #[test]
    fn long_line_is_truncated_at_character_boundary() {
        for (text, truncated) in [
            ("", ""),
            ("four", "four"),
            ("fünf!", "fün…"),
            ("a b cd", "a b…"),
            ("abc def", "abc…"),
            ("a\nb", "a…"),
            ("a\n", "a"),
        ] {
            assert_eq!(truncate_line(4, text), truncated, "{text}");
        }
    }

    #[test]
    fn age_is_rounded_down() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (time, text) in [
            ("2026-01-02T00:00:05Z", "just now"),
            ("2026-01-01T23:58:59.5Z", "1 minute ago"),
            ("2026-01-01T00:00:01Z", "23 hours ago"),
            ("2025-12-31T00:00:00Z", "2 days ago"),
            ("soon", "soon"),
        ] {
            assert_eq!(age(time, now), text);
        }
    }

    #[test]
    fn object_is_formatted_as_flat_fields() {
        let value = serde_json::json!({
            "version": "1", "jobs": {"running": 0}, "limits": {"memory": 1024, "timeout": 0.5}, "hosts": ["a", "b"], "none": null,
        });
        let text = fields(&value);
        let expected = [
            "version         1",
            "jobs.running    0",
            "limits.memory   1.0 KiB",
            "limits.timeout  500 ms",
            "hosts           a, b",
            "none            -",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
