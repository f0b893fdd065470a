//! Durations that are none, or that no clock can reach.

use capstan_tests::{Reply, guests};
use serde_json::{Value, json};

use crate::jobs::api::{post, submit, wait_for_end};
use crate::serving;

fn assert_refused(reply: &Reply, what: &Value) {
    assert!([400, 422].contains(&reply.status), "{what}: {reply:?}");
    let error = reply.json()["error"].clone();
    assert!(error["code"].is_string() && error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
}

#[tokio::test]
async fn duration_that_is_negative_or_no_number_is_refused() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    for time in [
        json!("NaN"),
        json!("inf"),
        json!("-1s"),
        json!(-0.5),
        json!("1e400s"),
        json!(""),
        json!("1 fortnight"),
        json!([1]),
    ] {
        for job in [
            json!({"handler": "cat", "not_before": time}),
            json!({"handler": "cat", "start_deadline": time}),
            json!({"handler": "cat", "retry": {"attempts": 2, "base": time}}),
            json!({"handler": "cat", "retry": {"attempts": 2, "max": time}}),
            json!({"handler": "cat", "policy": {"timeout": time}}),
        ] {
            assert_refused(&post(&client, &job).await, &job);
        }
        for schedule in [json!({"every": time}), json!({"every": "1h", "jitter": time})] {
            let mut schedule = schedule;
            schedule["job"] = json!({"handler": "cat"});
            let reply = client.put("/v1/schedules/s", schedule.to_string()).send().await;
            assert_refused(&reply, &schedule);
        }
    }
    // JSON has no such number.
    let reply = client.post("/v1/jobs").body(r#"{"handler": "cat", "not_before": NaN}"#).send().await;
    assert_refused(&reply, &json!("NaN"));
    assert_eq!(client.get("/v1/jobs").send().await.json()["jobs"], json!([]));
}

/// Such a time is refused or never comes, and nothing else is held up.
#[tokio::test]
async fn huge_duration_is_refused_or_never_comes() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    for time in [json!(1e300), json!(1e18), json!("1000000y"), json!(18_446_744_073_709_551_615_u64)] {
        for (field, job) in [
            ("not_before", json!({"handler": "cat", "not_before": time})),
            ("start_deadline", json!({"handler": "cat", "not_before": "1h", "start_deadline": time})),
        ] {
            let reply = post(&client, &job).await;
            if reply.status != 202 {
                assert_refused(&reply, &job);
                continue;
            }
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            let state = crate::jobs::api::state_of(&client, &id).await;
            assert_eq!(state, "scheduled", "{field}: {job}");
        }
    }
    let id = submit(&client, &json!({"handler": "cat", "stdin": "x"})).await;
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
    let (_daemon, client) = daemon.kill_and_restart().await;
    let id = submit(&client, &json!({"handler": "cat", "stdin": "x"})).await;
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
}
