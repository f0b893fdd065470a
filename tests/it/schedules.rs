//! Schedules over HTTP, with the real clock: no test waits for more than the shortest interval, one second.

mod manifest;

use capstan_tests::{Client, Reply, eventually, guests};
use serde_json::{Value, json};

use crate::jobs::api::{output_of, wait_for_end};
use crate::serving;

async fn put(client: &Client, name: &str, definition: &Value) -> Reply {
    client.put(&format!("/v1/schedules/{name}"), definition.to_string()).send().await
}

/// Returns the jobs of a schedule, the last one first.
async fn jobs_of(client: &Client, name: &str) -> Vec<Value> {
    let list = client.get(&format!("/v1/jobs?label=capstan.schedule={name}")).send().await.json();
    list["jobs"].as_array().unwrap().clone()
}

/// Waits until a schedule has submitted `count` jobs. Returns them, the last one first.
async fn until_jobs(client: &Client, name: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} jobs of {name}"), async || {
        Some(jobs_of(client, name).await).filter(|jobs| jobs.len() >= count)
    })
    .await
}

#[tokio::test]
async fn schedule_submits_jobs_again_and_again() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let definition = json!({"every": "1s", "job": {"handler": "cat", "stdin": "tick", "labels": {"team": "a"}}});
    let created = put(&client, "often", &definition).await;
    assert_eq!((created.status, created.json()["next"].as_array().unwrap().len()), (201, 5));
    let jobs = until_jobs(&client, "often", 2).await;
    for job in &jobs {
        let id = job["id"].as_str().unwrap();
        let ended = wait_for_end(&client, id).await;
        assert_eq!((&ended["exit_code"], output_of(&client, id).await.as_str()), (&json!(0), "tick"));
        assert_eq!((&ended["caller"], &ended["labels"]["team"]), (&Value::Null, &json!("a")));
        assert!(ended["digest"].is_string(), "the job keeps the program that its handler has: {ended}");
    }
    let at = |job: &Value| job["labels"]["capstan.scheduled_at"].as_str().unwrap().to_owned();
    assert!(at(&jobs[0]) > at(&jobs[1]), "each job has a time of its own");
    assert_eq!(put(&client, "often", &definition).await.status, 200);
}

#[tokio::test]
async fn schedule_survives_a_crash_and_makes_up_for_missed_times() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    assert_eq!(put(&client, "often", &json!({"every": "1s", "job": {"handler": "cat"}})).await.status, 201);
    assert_eq!(put(&client, "paused", &json!({"every": "1s", "job": {"handler": "cat"}})).await.status, 201);
    assert_eq!(client.post("/v1/schedules/paused/pause").send().await.status, 200);
    let before = until_jobs(&client, "often", 1).await.len();
    let paused = jobs_of(&client, "paused").await.len();
    let (_daemon, client) = daemon.kill_and_restart().await;
    until_jobs(&client, "often", before + 1).await;
    let schedule = client.get("/v1/schedules/paused").send().await.json();
    assert_eq!((&schedule["paused"], &schedule["next"]), (&json!(true), &json!([])));
    assert_eq!(jobs_of(&client, "paused").await.len(), paused);
}

#[tokio::test]
async fn paused_schedule_runs_on_request_and_resumes() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let definition = json!({"cron": "0 0 1 1 *", "time_zone": "Europe/Berlin", "job": {"handler": "cat"}});
    let created = put(&client, "yearly", &definition).await.json();
    assert!(created["next"][0].as_str().unwrap().ends_with("-12-31T23:00:00Z"), "{created}");
    let paused = client.post("/v1/schedules/yearly/pause").send().await.json();
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &json!([])));
    let submitted = client.post("/v1/schedules/yearly/run").send().await;
    assert_eq!(submitted.status, 202);
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(submitted.json()["durable"], true);
    let ended = wait_for_end(&client, &id).await;
    assert_eq!((&ended["exit_code"], ended["caller"].is_object()), (&json!(0), true));
    let resumed = client.post("/v1/schedules/yearly/resume").send().await.json();
    assert_eq!((&resumed["paused"], &resumed["next"]), (&json!(false), &created["next"]));
    assert_eq!(client.get("/v1/schedules").send().await.json(), json!({"schedules": [resumed]}));
}

#[tokio::test]
async fn replace_stops_the_run_before() {
    let (_daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let definition = json!({"every": "1s", "overlap": "replace", "job": {"handler": "sleep"}});
    assert_eq!(put(&client, "often", &definition).await.status, 201);
    eventually("a cancelled job and one that runs", async || {
        let jobs = jobs_of(&client, "often").await;
        let by_schedule = json!({"kind": "cancelled", "by": "schedule"});
        let is_cancelled = |job: &Value| job["outcome"] == by_schedule && !job["started"].is_null();
        (jobs.iter().any(is_cancelled) && jobs.iter().any(|job| job["state"] == "running")).then_some(())
    })
    .await;
    assert_eq!(client.delete("/v1/schedules/often").send().await.status, 204);
}

#[tokio::test]
async fn definition_that_is_returned_can_be_sent_again() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let definition = json!({
        "cron": "*/5 9-17 * * MON-FRI", "time_zone": "America/New_York", "overlap": "queue", "catch_up": "none", "jitter": "90s",
        "job": {"handler": "cat", "args": ["x"], "env": {"A": "1"}, "stdin_base64": "aGk=", "policy": {"timeout": "5s"},
            "retry": {"attempts": 3}, "priority": 5, "labels": {"team": "a"}, "concurrency_key": "k"},
    });
    let first = put(&client, "office", &definition).await.json();
    assert_eq!(put(&client, "office", &first["definition"]).await.json(), first);
    assert_eq!((&first["definition"]["jitter"], &first["definition"]["overlap"]), (&json!(90.0), &json!("queue")));
}

#[tokio::test]
async fn invalid_schedule_is_refused_with_the_reason() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let job = json!({"handler": "cat"});
    for (definition, status, code, part) in [
        (json!({"cron": "0 0 31 2 *", "job": job}), 422, "invalid_schedule", "never fires"),
        (json!({"cron": "* * * *", "job": job}), 422, "invalid_schedule", "4 fields"),
        (json!({"cron": "@daily", "time_zone": "Mars", "job": job}), 422, "invalid_schedule", "time_zone"),
        (json!({"every": "10ms", "job": job}), 422, "invalid_schedule", "every is 0.01 s"),
        (json!({"at": "2020-01-01T00:00:00Z", "job": job}), 422, "invalid_schedule", "past"),
        (json!({"every": "1h", "when": 1, "job": job}), 422, "invalid_schedule", "when: unknown field"),
        (json!({"every": "1h"}), 422, "invalid_schedule", "missing field `job`"),
        (json!({"every": "1h", "job": {"handler": "none"}}), 404, "unknown_handler", "none"),
        (json!({"every": "1h", "job": {"handler": "serveapi"}}), 403, "service", "serveapi"),
        (json!({"every": "1h", "job": {"handler": "cat", "labels": {"a b": "c"}}}), 400, "bad_request", "label"),
        (
            json!({"every": "1h", "job": {"handler": "cat", "labels": {"capstan.schedule": "c"}}}),
            400,
            "bad_request",
            "reserved",
        ),
        (json!({"every": "1h", "job": {"handler": "cat", "args": ["a\u{0}"]}}), 400, "invalid_arg", "NUL"),
    ] {
        let message = put(&client, "s", &definition).await.error(status, code);
        assert!(message.contains(part), "{definition}: {message}");
    }
    put(&client, "No%20name", &json!({"every": "1h", "job": job})).await.error(400, "invalid_name");
    for path in ["/pause", "/resume", "/run"] {
        client.post(&format!("/v1/schedules/none{path}")).send().await.error(404, "unknown_schedule");
    }
    client.get("/v1/schedules/none").send().await.error(404, "unknown_schedule");
    client.delete("/v1/schedules/none").send().await.error(404, "unknown_schedule");
    client.get("/v1/schedules?x=1").send().await.error(400, "bad_request");
    let large = json!({"every": "1h", "job": {"handler": "cat", "stdin": "x".repeat(1 << 20)}});
    put(&client, "s", &large).await.error(413, "too_large");
    assert_eq!(client.get("/v1/schedules").send().await.json(), json!({"schedules": []}));
}
