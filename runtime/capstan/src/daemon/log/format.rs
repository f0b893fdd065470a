//! `LineFormat`: the text of a log line.
//!
//! On a terminal it is that of `tracing_subscriber`. Elsewhere it is the same text without colours, written here: each job has two lines, and
//! the general formatter takes a large part of the time of a short run.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of the job log, whose lines are messages without fields, and without control characters.
const JOB_LOG: &str = "capstan::job";

/// Formats lines for terminals and for files.
#[derive(Debug, Default)]
pub(super) struct LineFormat {
    for_terminals: Format<Full>,
}

thread_local! {
    /// The last second that this thread has formatted, and its text.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if writer.has_ansi_escapes() {
            return self.for_terminals.format_event(context, writer, event);
        }
        write_time(&mut writer, SystemTime::now())?;
        let level = event.metadata().level().as_str();
        // Levels have at most five letters, and stand at the right of their column.
        writer.write_str(&"      "[level.len()..])?;
        writer.write_str(level)?;
        writer.write_char(' ')?;
        writer.write_str(event.metadata().target())?;
        writer.write_str(": ")?;
        if event.metadata().target() == JOB_LOG {
            let mut message = Message { writer: writer.by_ref(), result: Ok(()) };
            event.record(&mut message);
            message.result?;
        } else {
            context.format_fields(writer.by_ref(), event)?;
        }
        writer.write_char('\n')
    }
}

/// Writes the message of an event as it is.
struct Message<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = match field.name() {
                "message" => write!(self.writer, "{value:?}"),
                name => write!(self.writer, " {name}={value:?}"),
            };
        }
    }
}

/// Writes the time with six digits of the second, in UTC, as in RFC 3339.
fn write_time(writer: &mut impl fmt::Write, time: SystemTime) -> fmt::Result {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    SECOND.with_borrow_mut(|(last, text)| {
        if *last != second {
            let time = Timestamp::from_second(second).unwrap_or_default();
            (*last, *text) = (second, time.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        }
        writer.write_str(text)
    })?;
    let (mut fraction, mut rest) = (*b".000000Z", since_1970.subsec_micros());
    for digit in fraction[1..7].iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    writer.write_str(std::str::from_utf8(&fraction).expect("digits are text"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_has_six_digits_of_each_second() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_000_999, "1970-01-01T00:00:00.001000Z"),
            (1_769_860_800_123_456_789, "2026-01-31T12:00:00.123456Z"),
            (1_769_860_800_999_999_999, "2026-01-31T12:00:00.999999Z"),
        ] {
            let mut text = String::new();
            write_time(&mut text, UNIX_EPOCH + Duration::from_nanos(nanoseconds)).unwrap();
            assert_eq!(text, expected);
        }
    }
}
