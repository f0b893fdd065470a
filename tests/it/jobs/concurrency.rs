//! Concurrency: how many jobs of a handler, or of a handler and a key, run beside one another.

use capstan_tests::{Client, eventually, guests};
use serde_json::{Value, json};

use crate::jobs::api::{ended, state, submit};
use crate::{oracle, serving};

/// A job that runs until its stdin ends.
async fn open(client: &Client, mut job: Value) -> String {
    job["stdin_later"] = true.into();
    submit(client, &job).await
}

async fn until(client: &Client, id: &str, wanted: &str) {
    eventually(format!("job {id} to be {wanted}"), async || (state(client, id).await == wanted).then_some(())).await;
}

async fn end(client: &Client, id: &str) {
    assert_eq!(client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await.status, 204);
    assert_eq!(ended(client, id).await["outcome"]["kind"], "exited");
}

#[tokio::test]
async fn as_many_jobs_of_a_handler_run_as_may_and_the_rest_wait_in_their_order() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let job = json!({"handler": "cat", "policy": {"concurrency": 2}});
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(open(&client, job.clone()).await);
    }
    until(&client, &ids[1], "running").await;
    assert_eq!([state(&client, &ids[2]).await, state(&client, &ids[3]).await], ["queued", "queued"]);
    // Others are not held back.
    assert_eq!(client.run("cat").body("free").send().await.text(), "free");
    end(&client, &ids[0]).await;
    until(&client, &ids[2], "running").await;
    assert_eq!(state(&client, &ids[3]).await, "queued");
    // One that is cancelled while it waits leaves the way free.
    let last = open(&client, job.clone()).await;
    client.post(&format!("/v1/jobs/{}/kill", ids[3])).send().await;
    assert_eq!(ended(&client, &ids[3]).await["outcome"]["kind"], "cancelled");
    end(&client, &ids[1]).await;
    until(&client, &last, "running").await;
    for id in [&ids[2], &last] {
        end(&client, id).await;
    }
    oracle::still_answers(&mut daemon).await;
    assert_eq!(client.running().await, 0);
}

#[tokio::test]
async fn jobs_with_the_same_key_run_one_after_the_other_unless_the_manifest_says_more() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let of = |key: &str| json!({"handler": "cat", "concurrency_key": key});
    let first = open(&client, of("customer-1")).await;
    let second = open(&client, of("customer-1")).await;
    let other = open(&client, of("customer-2")).await;
    until(&client, &other, "running").await;
    assert_eq!(state(&client, &second).await, "queued");
    let told = client.get(&format!("/v1/jobs/{second}")).send().await.json();
    assert_eq!(told["concurrency_key"], "customer-1");
    end(&client, &first).await;
    until(&client, &second, "running").await;
    // A synchronous run waits as well.
    let waits = tokio::spawn(client.run("cat").query("concurrency_key", "customer-1").body("x").send());
    eventually("the run to wait", async || {
        let info = client.get("/v1/info").send().await.json();
        (info["jobs"]["queued"] == 1).then_some(())
    })
    .await;
    end(&client, &second).await;
    assert_eq!(waits.await.unwrap().text(), "x");
    end(&client, &other).await;
    let two = |key: &str| json!({"handler": "cat", "concurrency_key": key, "policy": {"concurrency_per_key": 2}});
    let (a, b) = (open(&client, two("k")).await, open(&client, two("k")).await);
    until(&client, &a, "running").await;
    until(&client, &b, "running").await;
    end(&client, &a).await;
    end(&client, &b).await;
}

#[tokio::test]
async fn what_cannot_be_a_key_or_a_limit_is_refused() {
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
