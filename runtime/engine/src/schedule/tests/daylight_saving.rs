//! Cron patterns where the clock on the wall is changed.

use std::collections::BTreeSet;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, ToSpan as _};
use rand::RngExt as _;

use super::*;

/// Returns the times of `pattern` in Berlin between the two days, in local time. There, 2026-03-29T02:00 becomes 03:00, and 2026-10-25T03:00
/// becomes 02:00.
fn berlin(pattern: &str, from: &str, until: &str) -> Vec<String> {
    let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
    let midnight = |day: &str| day.parse::<jiff::civil::Date>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let (from, until) = (midnight(from), midnight(until));
    let times = cron(pattern, "Europe/Berlin").upcoming(from - 1.seconds(), 200);
    let times = times.into_iter().take_while(|time| *time < until);
    times.map(|time| time.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string()).collect()
}

#[test]
fn fixed_time_that_is_skipped_fires_when_the_skipped_part_ends() {
    let times = berlin("30 2 * * *", "2026-03-28", "2026-03-31");
    assert_eq!(times, ["28 02:30+01:00", "29 03:00+02:00", "30 02:30+02:00"]);
    // The skipped time does not come in addition to the one that the clock shows next.
    assert_eq!(berlin("0 3 * * *", "2026-03-29", "2026-03-30"), ["29 03:00+02:00"]);
    // A date that the clock skips a part of is no other date.
    assert_eq!(berlin("30 2 29 3 *", "2026-03-29", "2026-03-30"), ["29 03:00+02:00"]);
}

#[test]
fn fixed_time_that_occurs_twice_fires_the_first_time() {
    let times = berlin("30 2 * * *", "2026-10-24", "2026-10-27");
    assert_eq!(times, ["24 02:30+02:00", "25 02:30+02:00", "26 02:30+01:00"]);
}

#[test]
fn other_pattern_fires_at_no_skipped_time() {
    let times = berlin("*/30 1-3 * * *", "2026-03-29", "2026-03-30");
    assert_eq!(times, ["29 01:00+01:00", "29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]);
    assert_eq!(berlin("0 2,12 * * *", "2026-03-29", "2026-03-30"), ["29 12:00+02:00"]);
}

#[test]
fn other_pattern_fires_at_both_times_that_occur_twice() {
    let times = berlin("*/30 2 * * *", "2026-10-25", "2026-10-26");
    assert_eq!(times, ["25 02:00+02:00", "25 02:30+02:00", "25 02:00+01:00", "25 02:30+01:00"]);
}

#[test]
fn every_minute_has_one_minute_between_its_times() {
    for day in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let times = cron("* * * * *", "Europe/Berlin").upcoming(time(day), 300);
        let distances: BTreeSet<_> = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
        assert_eq!(distances, [SignedDuration::from_secs(60)].into(), "{day}");
    }
}

/// Returns the times of a pattern by looking at each minute.
fn slow_times(
    zone: &TimeZone,
    (minutes, hours): (&BTreeSet<i8>, &BTreeSet<i8>),
    from: Timestamp,
    until: Timestamp,
) -> Vec<Timestamp> {
    let is_fixed = minutes.len() == 1 && hours.len() == 1;
    let mut found = BTreeSet::new();
    let mut minute = from;
    while minute < until {
        let local = minute.to_zoned(zone.clone()).datetime();
        if minutes.contains(&local.minute()) && hours.contains(&local.hour()) {
            let first = zone.to_ambiguous_timestamp(local).compatible().unwrap();
            found.insert(if is_fixed { first } else { minute });
        }
        minute += 1.minute();
    }
    let changes = zone.following(from).take_while(|change| change.timestamp() < until);
    for change in changes.filter(|_| is_fixed) {
        let end = change.timestamp();
        let skipped = (end - 1.second()).to_zoned(zone.clone()).datetime()..end.to_zoned(zone.clone()).datetime();
        let days = [skipped.start.date(), skipped.end.date()];
        if days.iter().any(|day| skipped.contains(&day.at(*hours.first().unwrap(), *minutes.first().unwrap(), 0, 0))) {
            found.insert(end);
        }
    }
    found.into_iter().filter(|time| (from..until).contains(time)).collect()
}

#[test]
fn random_patterns_have_the_times_that_looking_at_each_minute_finds() {
    let mut random = rand::rng();
    // Its clock changes by one hour, at midnight, by half an hour, by two hours, and not at all.
    for name in ["America/New_York", "America/Santiago", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Kolkata"] {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let changes: Vec<_> = zone.following(time("2026-01-01T00:00:00Z")).take(2).collect();
        for day in changes.iter().map(|change| change.timestamp()).chain([time("2026-05-05T00:00:00Z")]) {
            let (from, until) = (day - 30.hours(), day + 30.hours());
            for _ in 0..20 {
                let sizes = [(1, 1), (3, 1), (1, 3), (3, 3)][random.random_range(0..4)];
                let minutes: BTreeSet<i8> = (0..sizes.0).map(|_| random.random_range(0..60)).collect();
                let hours: BTreeSet<i8> = (0..sizes.1).map(|_| (random.random_range(0..6) + 23) % 24).collect();
                let list = |values: &BTreeSet<i8>| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                let pattern = format!("{} {} * * *", list(&minutes), list(&hours));
                let times = cron(&pattern, name).upcoming(from - 1.second(), 100).into_iter();
                let times: Vec<_> = times.take_while(|time| *time < until).collect();
                let expected = slow_times(&zone, (&minutes, &hours), from, until);
                assert_eq!(times, expected, "{pattern} in {name} at {day}");
            }
        }
    }
}
