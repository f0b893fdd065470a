//! Durable jobs: what survives the daemon.

use capstan_tests::{Client, Setup, eventually, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{inspect, output_of, state_of, submit, wait_for_end};
use crate::{CAPSTAN, configured, serving};

pub(crate) async fn until_state(client: &Client, id: &str, state: &str) {
    eventually(&format!("job {id} to be {state}"), async || (state_of(client, id).await == state).then_some(())).await;
}

#[tokio::test]
async fn ended_job_is_the_same_after_a_crash() {
    let (daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let job = json!({"handler": "print", "args": ["7"], "labels": {"team": "a"}, "key": "k"});
    let id = submit(&client, &job).await;
    let before = wait_for_end(&client, &id).await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(inspect(&client, &id).await, before);
    assert_eq!(output_of(&client, &id).await, "started\nended\n");
    let followed = client.get(&format!("/v1/jobs/{id}/logs?follow=1")).send().await;
    assert_eq!(followed.text(), "started\nended\n");
    let again = client.post("/v1/jobs").body(job.to_string()).send().await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(id)), "the key is remembered");
    let listed = client.get("/v1/jobs?label=team=a&state=done").send().await.json();
    assert_eq!(listed["jobs"][0]["id"], id.as_str());
}

#[tokio::test]
async fn queued_and_running_jobs_run_after_a_crash() {
    let (daemon, client) = configured("[limits]\nruns = 1", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    client.push("hello", guests::run::HELLO).await;
    let interrupted = submit(&client, &json!({"handler": "sleep", "retry": {"lost": 1, "base": "100ms"}})).await;
    until_state(&client, &interrupted, "running").await;
    let queued = submit(&client, &json!({"handler": "hello"})).await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(wait_for_end(&client, &queued).await["exit_code"], 0);
    until_state(&client, &interrupted, "running").await;
    let job = inspect(&client, &interrupted).await;
    assert_eq!(
        (&job["attempts"][0]["outcome"]["kind"], &job["attempts"][1]["outcome"]),
        (&json!("lost"), &Value::Null)
    );
}

#[tokio::test]
async fn run_that_shutdown_interrupts_is_no_attempt_that_counts() {
    let (mut daemon, client) = configured("grace = \"100ms\"", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep", "retry": {"attempts": 1, "lost": 0}})).await;
    until_state(&client, &id, "running").await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    let daemon = daemon.setup().start();
    let client = daemon.client();
    until_state(&client, &id, "running").await;
    let attempts = &inspect(&client, &id).await["attempts"];
    assert_eq!(attempts[0]["outcome"], json!({"kind": "cancelled", "by": "shutdown"}));
    assert_eq!(attempts.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn clients_that_wait_resume_after_a_crash() {
    let (daemon, client) = configured("[limits]\nruns = 1", "cat", guests::run::CAT).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let blocker = submit(&client, &json!({"handler": "sleep"})).await;
    until_state(&client, &blocker, "running").await;
    let id = submit(&client, &json!({"handler": "cat", "stdin": "late"})).await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    let follower = client.get(&format!("/v1/jobs/{id}/logs?follow=1")).open().await;
    let waiter = client.post(&format!("/v1/jobs/{id}/wait")).open().await;
    client.post(&format!("/v1/jobs/{blocker}/cancel")).send().await;
    assert_eq!(follower.finish().await.text(), "late");
    assert_eq!(waiter.finish().await.json()["state"], "done");
}

#[tokio::test]
async fn failed_job_is_retried_and_each_attempt_is_kept() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let retry = json!({"attempts": 3, "backoff": "constant", "base": "20ms", "jitter": 0});
    let id = submit(&client, &json!({"handler": "print", "args": ["7"], "retry": retry})).await;
    until_state(&client, &id, "dead").await;
    let job = inspect(&client, &id).await;
    let codes: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|run| run["exit_code"].clone()).collect();
    assert_eq!(codes, [7, 7, 7]);
    for attempt in 1..=3 {
        let logs = client.get(&format!("/v1/jobs/{id}/logs?attempt={attempt}")).send().await;
        assert_eq!(logs.text(), "started\nended\n", "attempt {attempt}");
    }
    client.get(&format!("/v1/jobs/{id}/logs?attempt=4")).send().await.error(404, "unknown_attempt");
    let events = client.get(&format!("/v1/events?since=0&until=0s&filter=job={id}")).send().await;
    let kinds: Vec<_> = events.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let count = |kind: &str| kinds.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("job.start"), count("job.retry"), count("job.end")), (3, 2, 1));
}

#[tokio::test]
async fn permanent_exit_code_is_not_retried() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let retry = json!({"attempts": 5, "base": "10ms", "permanent": [7]});
    let id = submit(&client, &json!({"handler": "print", "args": ["7"], "retry": retry})).await;
    until_state(&client, &id, "dead").await;
    assert_eq!(inspect(&client, &id).await["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn retry_policy_of_the_manifest_applies_unless_the_request_has_one() {
    let daemon = Setup::new(CAPSTAN).start();
    let client = daemon.client();
    let manifest = "[retry]\nattempts = 2\nbase = \"10ms\"\n";
    crate::handlers::push_with_manifest(&client, "print", guests::run::PRINT_THEN_EXIT, manifest).await;
    let by_manifest = submit(&client, &json!({"handler": "print", "args": ["7"]})).await;
    let by_request = submit(&client, &json!({"handler": "print", "args": ["7"], "retry": {"attempts": 1}})).await;
    until_state(&client, &by_manifest, "dead").await;
    assert_eq!(inspect(&client, &by_manifest).await["attempts"].as_array().unwrap().len(), 2);
    let job = wait_for_end(&client, &by_request).await;
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn dead_letter_is_edited_and_requeued_or_purged() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let dead = json!({"handler": "print", "args": ["7"], "retry": {"attempts": 2, "base": "1ms"}});
    let (mended, purged) = (submit(&client, &dead).await, submit(&client, &dead).await);
    for id in [&mended, &purged] {
        until_state(&client, id, "dead").await;
    }
    let letters = client.get("/v1/dead-letters").send().await.json();
    assert_eq!(letters["jobs"].as_array().unwrap().len(), 2);
    let edit = json!({"args": ["0"]}).to_string();
    let reply = client.post(&format!("/v1/jobs/{mended}/retry")).body(edit).send().await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let job = wait_for_end(&client, &mended).await;
    assert_eq!((&job["exit_code"], job["attempts"].as_array().unwrap().len()), (&json!(0), 3));
    client.delete("/v1/dead-letters").send().await.error(400, "bad_request");
    let reply = client.delete("/v1/dead-letters?handler=print").send().await;
    assert_eq!(reply.json(), json!({"removed": 1}));
    client.get(&format!("/v1/jobs/{purged}")).send().await.error(404, "unknown_job");
    let running = client.post(&format!("/v1/jobs/{mended}/retry")).body("{\"colour\":1}").send().await;
    running.error(400, "bad_request");
}

#[tokio::test]
async fn job_whose_handler_was_removed_is_refused_when_its_turn_comes() {
    let (_daemon, client) = configured("[limits]\nruns = 1", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    client.push("hello", guests::run::HELLO).await;
    let blocker = submit(&client, &json!({"handler": "sleep"})).await;
    until_state(&client, &blocker, "running").await;
    let id = submit(&client, &json!({"handler": "hello"})).await;
    client.delete("/v1/handlers/hello").send().await;
    client.post(&format!("/v1/jobs/{blocker}/cancel")).send().await;
    let job = wait_for_end(&client, &id).await;
    assert_eq!(job["outcome"]["kind"], "refused");
    assert!(job["error"].as_str().unwrap().contains("hello"), "{job}");
    client.push("hello", guests::run::HELLO).await;
    client.post(&format!("/v1/jobs/{id}/retry")).send().await;
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
}

#[tokio::test]
async fn cancelled_job_does_not_run_after_a_crash() {
    let (daemon, client) = configured("[limits]\nruns = 1", "sleep", guests::limits::SLEEP_FOR_EVER).await;
    let running = submit(&client, &json!({"handler": "sleep"})).await;
    until_state(&client, &running, "running").await;
    let queued = submit(&client, &json!({"handler": "sleep"})).await;
    for id in [&queued, &running] {
        assert_eq!(client.post(&format!("/v1/jobs/{id}/cancel")).send().await.status, 202);
        wait_for_end(&client, id).await;
    }
    let (_daemon, client) = daemon.kill_and_restart().await;
    for id in [queued, running] {
        assert_eq!(inspect(&client, &id).await["outcome"], json!({"kind": "cancelled", "by": "client"}));
    }
}

#[tokio::test]
async fn manifest_decides_where_synchronous_runs_are_recorded() {
    let daemon = Setup::new(CAPSTAN).start();
    let client = daemon.client();
    for mode in ["durable", "memory", "off"] {
        let manifest = format!("history = \"{mode}\"\n");
        crate::handlers::push_with_manifest(&client, mode, guests::run::PRINT_THEN_EXIT, &manifest).await;
    }
    let mut ids = Vec::new();
    for mode in ["durable", "memory", "off"] {
        let run = client.run(mode).arg("7").send().await;
        ids.push(run.header("capstan-job").unwrap().to_owned());
    }
    let durable = eventually("the run to be on the disk", async || {
        let job = inspect(&client, &ids[0]).await;
        (job["durable"] == true).then_some(job)
    })
    .await;
    assert_eq!((&durable["exit_code"], &durable["logged"]), (&json!(7), &json!(false)));
    assert_eq!(inspect(&client, &ids[1]).await["durable"], false);
    client.get(&format!("/v1/jobs/{}", ids[2])).send().await.error(404, "unknown_job");
    let listed = client.get("/v1/jobs").send().await.json()["jobs"].clone();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, [ids[1].clone(), ids[0].clone()]);
    client.get(&format!("/v1/jobs/{}/logs", ids[0])).send().await.error(404, "no_logs");
    client.post(&format!("/v1/jobs/{}/retry", ids[0])).send().await.error(409, "not_durable");
    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(inspect(&client, &ids[0]).await, durable);
    client.get(&format!("/v1/jobs/{}", ids[1])).send().await.error(404, "unknown_job");
}
