//! Cron patterns in UTC.

use super::*;

/// Returns the first two times of `pattern` after `from`.
fn next_two(pattern: &str, from: &str) -> Vec<String> {
    texts(&cron(pattern, "UTC").upcoming(time(from), 2))
}

#[test]
fn pattern_has_the_times_of_its_fields() {
    let from = "2026-01-31T12:00:00Z";
    for (pattern, expected) in [
        ("* * * * *", ["2026-01-31T12:01:00Z", "2026-01-31T12:02:00Z"]),
        ("* * * * * *", ["2026-01-31T12:00:01Z", "2026-01-31T12:00:02Z"]),
        ("*/20 30 9 * * *", ["2026-02-01T09:30:00Z", "2026-02-01T09:30:20Z"]),
        ("0 9 * * MON-FRI", ["2026-02-02T09:00:00Z", "2026-02-03T09:00:00Z"]),
        ("0 0 13 * FRI", ["2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"]),
        ("0 0 * * FRI#2", ["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z"]),
        // 2026-02-15 is a Sunday, and 2026-03-15 too.
        ("0 0 15W * *", ["2026-02-16T00:00:00Z", "2026-03-16T00:00:00Z"]),
        ("0 0 13 * +FRI", ["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z"]),
        ("@hourly", ["2026-01-31T13:00:00Z", "2026-01-31T14:00:00Z"]),
        ("@daily", ["2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"]),
        (" @Weekly ", ["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z"]),
        ("@monthly", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]),
        ("@yearly", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ] {
        assert_eq!(next_two(pattern, from), expected, "{pattern}");
    }
}

#[test]
fn ends_of_months_and_leap_days_are_found() {
    for (pattern, from, expected) in [
        ("0 0 31 * *", "2026-01-31T00:00:00Z", ["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]),
        ("0 0 L * *", "2028-01-31T00:00:00Z", ["2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"]),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        // 2100 is no leap year.
        ("0 0 29 2 *", "2097-01-01T00:00:00Z", ["2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"]),
        // The rarest date of a pattern: a weekday of February 29.
        ("0 0 29 2 +SAT", "2076-03-01T00:00:00Z", ["2116-02-29T00:00:00Z", "2144-02-29T00:00:00Z"]),
    ] {
        assert_eq!(next_two(pattern, from), expected, "{pattern}");
    }
}

#[test]
fn time_between_two_seconds_is_before_the_next_one() {
    assert_eq!(next_two("* * * * * *", "2026-01-01T00:00:00.999999Z")[0], "2026-01-01T00:00:01Z");
    assert_eq!(next_two("0 0 1 1 *", "2025-12-31T23:59:59.5Z")[0], "2026-01-01T00:00:00Z");
}

#[test]
fn date_that_does_not_exist_is_refused() {
    for pattern in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * 31 2 *", "0 0 30 2 +MON"] {
        let error = schedule(json!({"cron": pattern})).unwrap_err();
        assert_eq!(error, ScheduleError::NoSuchDate(pattern.to_owned()));
        assert_eq!(error.to_string(), format!("cron is {pattern:?}, which never fires: no such date exists"));
    }
    // A weekday is another way to match.
    cron("0 0 31 2 MON", "UTC");
}

#[test]
fn malformed_pattern_is_refused_with_the_reason() {
    let long = format!("{} * * * *", "1,".repeat(1000));
    for (pattern, reason) in [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 1 1 * * 2030", "7 fields"),
        ("60 * * * *", "60"),
        ("* 24 * * *", "24"),
        ("* * 0 * *", "0"),
        ("* * 32 * *", "32"),
        ("* * * 13 *", "13"),
        ("* * * * 8", "8"),
        ("*/0 * * * *", "0"),
        ("5-1 * * * *", "5-1"),
        ("a * * * *", "'A'"),
        ("@reboot", "the aliases are @hourly"),
        ("@every 5m", "the aliases are @hourly"),
        ("* * * * *;reboot", "illegal character"),
        ("ß * * * *", "illegal character"),
        (&long, "1024 characters"),
    ] {
        let error = schedule(json!({"cron": pattern})).expect_err(pattern).to_string();
        assert!(error.starts_with("cron is ") && error.contains(reason), "{pattern}: {error}");
    }
}
