//! What a definition may say.

use std::time::Duration;

use super::super::{CatchUp, Overlap, SCHEDULE_LABEL, SCHEDULED_AT_LABEL};
use super::*;
use crate::job_store::JobIds;

#[test]
fn definition_has_defaults_and_survives_a_round_trip() {
    let read = |json: Value| ScheduleDefinition::from_json(&json).unwrap();
    let minimal = read(json!({"every": "90s", "job": {"handler": "report"}}));
    assert_eq!((minimal.overlap, minimal.catch_up, minimal.jitter), (Overlap::Allow, CatchUp::Last, None));
    let full = read(json!({
        "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "overlap": "queue", "catch_up": "all", "jitter": "1m 30s",
        "job": {
            "handler": "report", "args": ["-v"], "env": {"LANG": "C"}, "stdin": "text", "policy": {"timeout": "5s"},
            "retry": {"attempts": 3}, "priority": -2, "labels": {"team": "a"}, "concurrency_key": "k",
        },
    }));
    assert_eq!(full.jitter, Some(Duration::from_secs(90)));
    for definition in [minimal, full, read(json!({"at": "2030-01-31T12:00:00+02:00", "job": {"handler": "a"}}))] {
        let stored = serde_json::to_value(&definition).unwrap();
        assert_eq!(ScheduleDefinition::from_json(&stored).unwrap(), definition, "{stored}");
    }
}

#[test]
fn malformed_definition_is_refused_with_the_field() {
    let text = "x".repeat(300);
    for (json, expected) in [
        (json!({}), "the schedule has no times"),
        (json!({"cron": null}), "the schedule has no times"),
        (json!({"cron": "@daily", "every": "1h"}), "both cron and every"),
        (json!({"every": "1h", "at": "2030-01-01T00:00:00Z"}), "both every and at"),
        (json!({"every": "1h", "time_zone": "UTC"}), "time_zone is only for cron"),
        (json!({"cron": "@daily", "time_zone": "Mars/Olympus"}), "time_zone is \"Mars/Olympus\""),
        (json!({"cron": "@daily", "time_zone": ""}), "time_zone is \"\""),
        (json!({"cron": "@daily", "time_zone": "../../etc/passwd"}), "time_zone is \"../../etc/passwd\""),
        (json!({"cron": "@daily", "time_zone": text}), "time_zone is \"xxx"),
        (json!({"cron": 5}), "cron: invalid type: integer `5`"),
        (json!({"every": 0}), "every is 0 s, which is not from 1 s to 31622400 s"),
        (json!({"every": "999ms"}), "every is 0.999 s"),
        (json!({"every": "400d"}), "every is 34560000 s"),
        (json!({"every": 1e300}), "every: "),
        (json!({"every": -5}), "every: \"-5\" is not a duration"),
        (json!({"every": "-5s"}), "every: "),
        (json!({"every": "NaN"}), "every: \"NaN\" is not a duration"),
        (json!({"every": "inf"}), "every: "),
        (json!({"every": "often"}), "every: \"often\" is not a duration"),
        (json!({"every": "1h", "jitter": "2d"}), "jitter is 172800 s, which is not from 0 s to 86400 s"),
        (json!({"every": "1h", "jitter": -1}), "jitter: "),
        (json!({"at": "tomorrow"}), "at: \"tomorrow\" is not a time such as"),
        (json!({"at": "2030-01-31"}), "at: "),
        (json!({"at": 1_900_000_000}), "at: invalid type"),
        (json!({"every": "1h", "overlap": "forbid"}), "overlap: unknown variant `forbid`"),
        (json!({"every": "1h", "catch_up": 3}), "catch_up: invalid type"),
        (json!({"every": "1h", "paused": true}), "unknown field `paused`"),
        (json!({"every": "1h", "job": {}}), "job: missing field `handler`"),
        (json!({"every": "1h", "job": {"handler": "a b"}}), "job.handler: \"a b\" is not a handler name"),
        (json!({"every": "1h", "job": {"handler": "a", "key": "x"}}), "unknown field `key`"),
        (
            json!({"every": "1h", "job": {"handler": "a", "stdin": "", "stdin_base64": ""}}),
            "both stdin and stdin_base64",
        ),
        (json!({"every": "1h", "job": {"handler": "a", "stdin_base64": "?"}}), "cannot decode stdin_base64"),
        (json!({"every": "1h", "job": {"handler": "a", "labels": {"capstan.schedule": "b"}}}), "reserved"),
        (json!({"every": "1h", "job": {"handler": "a", "retry": {"attempts": 0}}}), "retry.attempts is 0"),
        (
            json!({"every": "1h", "job": {"handler": "a", "retry": {"base": "x"}}}),
            "job.retry.base: \"x\" is not a duration",
        ),
        (json!({"every": "1h", "job": {"handler": "a", "policy": {"timout": 1}}}), "job.policy.timout: unknown field"),
    ] {
        let error = schedule(json.clone()).expect_err(&json.to_string()).to_string();
        assert!(error.contains(expected), "{json}: {error}");
        assert!(error.len() < 400, "{json}: {error}");
    }
    ScheduleDefinition::from_json(&json!("daily")).expect_err("a text is no definition");
    for (text, expected) in [
        (r#"{"every": "1h", "every": "2h"}"#, "duplicate field `every` at line 1"),
        (r#"{"every": "often"}"#, "every: \"often\" is not a duration"),
        (r#"{"every": "1h", "job": {"handler": "a"}} {}"#, "trailing characters"),
        (r#"{"every": "1h""#, "EOF"),
    ] {
        let error = ScheduleDefinition::from_slice(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn interval_fires_at_its_multiples() {
    let every = |text: &str, from: &str| texts(&schedule(json!({"every": text})).unwrap().upcoming(time(from), 2));
    assert_eq!(every("15m", "2026-01-01T10:07:00Z"), ["2026-01-01T10:15:00Z", "2026-01-01T10:30:00Z"]);
    assert_eq!(every("15m", "2026-01-01T10:15:00Z")[0], "2026-01-01T10:30:00Z");
    assert_eq!(every("1.5", "2026-01-01T00:00:00.1Z"), ["2026-01-01T00:00:01.5Z", "2026-01-01T00:00:03Z"]);
    assert_eq!(every("1.0004s", "1970-01-01T00:00:00Z"), ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]);
    assert_eq!(every("1h", "1969-12-31T23:30:00Z")[0], "1970-01-01T00:00:00Z");
}

#[test]
fn single_time_fires_once() {
    let at = schedule(json!({"at": "2030-01-31T12:00:00.1234567+02:00"})).unwrap();
    assert_eq!(texts(&at.upcoming(time("2026-01-01T00:00:00Z"), 5)), ["2030-01-31T10:00:00.123456Z"]);
    assert_eq!(at.next_after(time("2030-01-31T10:00:00.123456Z")), None);
}

#[test]
fn far_future_has_no_times_and_no_panic() {
    for schedule in [cron("* * * * *", "Europe/Berlin"), schedule(json!({"every": "366d"})).unwrap()] {
        assert_eq!(schedule.next_after(Timestamp::MAX), None);
        let first = schedule.next_after(Timestamp::MIN);
        assert!(first.is_none_or(|time| time > Timestamp::MIN));
    }
}

#[test]
fn job_of_a_schedule_has_its_fields_and_labels() {
    let job =
        json!({"handler": "report", "args": ["-v"], "stdin_base64": "aGk=\n", "labels": {"team": "a"}, "priority": 7});
    let schedule = schedule(json!({"every": "1h", "job": job})).unwrap();
    let (id, at) = (JobIds::default().create(Timestamp::UNIX_EPOCH), time("2026-01-01T10:00:00Z"));
    let job = schedule.new_job(id, "hourly", at);
    assert_eq!((job.id, job.handler.as_str(), job.priority), (id, "report", 7));
    assert_eq!((job.plan.args.as_slice(), &job.stdin[..]), (&["-v".to_owned()][..], &b"hi"[..]));
    let labels: Vec<_> = job.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [(SCHEDULE_LABEL, "hourly"), (SCHEDULED_AT_LABEL, "2026-01-01T10:00:00Z"), ("team", "a")]);
}

#[test]
fn jitter_delays_the_job_and_not_the_schedule() {
    let (at, now) = (time("2026-01-01T10:00:00Z"), time("2026-01-01T10:00:02Z"));
    let jittered = schedule(json!({"every": "1h", "jitter": "10m"})).unwrap();
    for (random, expected) in
        [(0.0, "2026-01-01T10:00:02Z"), (0.5, "2026-01-01T10:05:02Z"), (1.0, "2026-01-01T10:10:02Z")]
    {
        assert_eq!(jittered.not_before(at, now, random), Some(time(expected)));
    }
    assert_eq!(texts(&jittered.upcoming(now, 1)), ["2026-01-01T11:00:00Z"]);
    for json in [json!({"every": "1h"}), json!({"every": "1h", "jitter": 0})] {
        assert_eq!(schedule(json).unwrap().not_before(at, now, 0.5), None);
    }
}
