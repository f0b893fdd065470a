//! Concurrency limits: how many jobs of a handler, or of a handler and a key, run at the same time.

use capstan_tests::{Client, eventually, guests};
use serde_json::{Value, json};

use crate::jobs::api::{state_of, submit, wait_for_end};
use crate::{oracle, serving};

/// Submits a job that runs until its stdin ends.
async fn submit_waiting_job(client: &Client, mut job: Value) -> String {
    job["stdin_later"] = true.into();
    submit(client, &job).await
}

async fn wait_for_state(client: &Client, id: &str, wanted: &str) {
    eventually(format!("job {id} to be {wanted}"), async || (state_of(client, id).await == wanted).then_some(())).await;
}

async fn finish(client: &Client, id: &str) {
    assert_eq!(client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await.status, 204);
    assert_eq!(wait_for_end(client, id).await["outcome"]["kind"], "exited");
}

#[tokio::test]
async fn handler_concurrency_limit_queues_further_jobs_in_order() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let job = json!({"handler": "cat", "policy": {"concurrency": 2}});
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(submit_waiting_job(&client, job.clone()).await);
    }
    wait_for_state(&client, &ids[1], "running").await;
    assert_eq!([state_of(&client, &ids[2]).await, state_of(&client, &ids[3]).await], ["queued", "queued"]);
    // Jobs without the limit are not held back.
    assert_eq!(client.run("cat").body("free").send().await.text(), "free");
    finish(&client, &ids[0]).await;
    wait_for_state(&client, &ids[2], "running").await;
    assert_eq!(state_of(&client, &ids[3]).await, "queued");
    // A job that is cancelled in the queue does not block the next one.
    let last = submit_waiting_job(&client, job.clone()).await;
    client.post(&format!("/v1/jobs/{}/kill", ids[3])).send().await;
    assert_eq!(wait_for_end(&client, &ids[3]).await["outcome"]["kind"], "cancelled");
    finish(&client, &ids[1]).await;
    wait_for_state(&client, &last, "running").await;
    for id in [&ids[2], &last] {
        finish(&client, id).await;
    }
    oracle::still_answers(&mut daemon).await;
    assert_eq!(client.running().await, 0);
}

#[tokio::test]
async fn jobs_with_the_same_key_run_one_at_a_time_by_default() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let of = |key: &str| json!({"handler": "cat", "concurrency_key": key});
    let first = submit_waiting_job(&client, of("customer-1")).await;
    let second = submit_waiting_job(&client, of("customer-1")).await;
    let other = submit_waiting_job(&client, of("customer-2")).await;
    wait_for_state(&client, &other, "running").await;
    assert_eq!(state_of(&client, &second).await, "queued");
    let reported = client.get(&format!("/v1/jobs/{second}")).send().await.json();
    assert_eq!(reported["concurrency_key"], "customer-1");
    finish(&client, &first).await;
    wait_for_state(&client, &second, "running").await;
    // A synchronous run waits too.
    let waits = tokio::spawn(client.run("cat").query("concurrency_key", "customer-1").body("x").send());
    eventually("the run to be queued", async || {
        let info = client.get("/v1/info").send().await.json();
        (info["jobs"]["queued"] == 1).then_some(())
    })
    .await;
    finish(&client, &second).await;
    assert_eq!(waits.await.unwrap().text(), "x");
    finish(&client, &other).await;
    let two = |key: &str| json!({"handler": "cat", "concurrency_key": key, "policy": {"concurrency_per_key": 2}});
    let (a, b) = (submit_waiting_job(&client, two("k")).await, submit_waiting_job(&client, two("k")).await);
    wait_for_state(&client, &a, "running").await;
    wait_for_state(&client, &b, "running").await;
    finish(&client, &a).await;
    finish(&client, &b).await;
}

#[tokio::test]
async fn invalid_concurrency_keys_and_limits_are_rejected() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    for job in [
        json!({"handler": "cat", "concurrency_key": ""}),
        json!({"handler": "cat", "concurrency_key": "x".repeat(256)}),
        json!({"handler": "cat", "concurrency_key": "a\nb"}),
        json!({"handler": "cat", "concurrency_key": 7}),
        json!({"handler": "cat", "policy": {"concurrency": 0}}),
        json!({"handler": "cat", "policy": {"concurrency": -1}}),
        json!({"handler": "cat", "policy": {"concurrency_per_key": "many"}}),
    ] {
        client.post("/v1/jobs").body(job.to_string()).send().await.error(400, "bad_request");
    }
    client.run("cat").query("concurrency_key", "").send().await.error(400, "bad_request");
}
