//! Which of the times that have passed count.

use super::super::MAX_CAUGHT_UP;
use super::*;

/// Returns the times for which the schedule fires at `now`.
fn due(mut json: Value, catch_up: &str, due: &str, now: &str) -> Vec<String> {
    json["catch_up"] = catch_up.into();
    texts(&schedule(json).unwrap().due_times(time(due), time(now)))
}

#[test]
fn time_that_is_met_counts_with_each_setting() {
    for catch_up in ["none", "last", "all"] {
        for now in ["2026-01-01T10:00:00Z", "2026-01-01T10:00:59Z"] {
            let times = due(json!({"cron": "@hourly"}), catch_up, "2026-01-01T10:00:00Z", now);
            assert_eq!(times, ["2026-01-01T10:00:00Z"], "{catch_up} at {now}");
        }
    }
}

#[test]
fn missed_times_count_as_the_setting_says() {
    let times = |catch_up| due(json!({"cron": "@hourly"}), catch_up, "2026-01-01T10:00:00Z", "2026-01-01T12:30:00Z");
    assert_eq!(times("none"), [""; 0]);
    assert_eq!(times("last"), ["2026-01-01T12:00:00Z"]);
    assert_eq!(times("all"), ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"]);
}

#[test]
fn earlier_times_are_missed_although_the_last_one_is_on_time() {
    let times = |catch_up| due(json!({"cron": "@hourly"}), catch_up, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z");
    assert_eq!((times("none"), times("last")), (vec!["2026-01-01T12:00:00Z".to_owned()], times("none")));
}

#[test]
fn all_makes_up_for_the_last_hundred_of_a_year() {
    let times = due(json!({"cron": "* * * * * *"}), "all", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    assert_eq!(times.len(), MAX_CAUGHT_UP);
    assert_eq!((times[0].as_str(), times[99].as_str()), ("2025-12-31T23:58:21Z", "2026-01-01T00:00:00Z"));
    let interval = due(json!({"every": "1s"}), "last", "1970-01-02T00:00:00Z", "2026-01-01T00:00:00.5Z");
    assert_eq!(interval, ["2026-01-01T00:00:00Z"]);
}

#[test]
fn missed_single_time_counts_unless_nothing_is_made_up_for() {
    let times =
        |catch_up| due(json!({"at": "2026-01-01T10:00:00Z"}), catch_up, "2026-01-01T10:00:00Z", "2026-02-01T00:00:00Z");
    assert_eq!(
        (times("none"), times("last"), times("all")),
        (vec![], times("all"), vec!["2026-01-01T10:00:00Z".into()])
    );
}

#[test]
fn time_that_the_pattern_does_not_have_any_more_counts() {
    // As after an update of the time zones.
    let times = due(json!({"cron": "@hourly"}), "last", "2026-01-01T10:30:00Z", "2026-01-01T10:31:00Z");
    assert_eq!(times, ["2026-01-01T10:30:00Z"]);
}

#[test]
fn last_time_is_the_one_that_looking_at_all_times_finds() {
    for pattern in ["*/7 3 * * *", "30 2 * * *", "* * 29 2 *", "59 23 L * *"] {
        let schedule = cron(pattern, "America/New_York");
        let from = time("2024-02-28T00:00:00Z");
        let all: Vec<_> = schedule.upcoming(from, 500);
        for (index, until) in all.iter().enumerate().step_by(41) {
            assert_eq!(schedule.due_times(all[0], *until), [*until], "{pattern}");
            if index > 0 {
                let before = until.checked_sub(jiff::SignedDuration::from_micros(1)).unwrap();
                assert_eq!(schedule.due_times(all[0], before), [all[index - 1]], "{pattern}");
            }
        }
    }
}
