//! Cancelling with a grace time: the guest finds the end of its stdin, and ends by itself.

use capstan_tests::{Client, eventually, guests};
use serde_json::{Value, json};

use crate::jobs::api::{inspect, output_of, submit, wait_for_end};
use crate::jobs::durable::until_state;
use crate::serving;

/// More than the guest reads during any test.
fn long_stdin() -> String {
    "x".repeat(1 << 20)
}

/// Submits `job` and waits until its guest reads stdin.
async fn submit_and_read(client: &Client, job: &Value) -> String {
    let id = submit(client, job).await;
    eventually("the guest to start", async || (output_of(client, &id).await == "started\n").then_some(())).await;
    id
}

async fn cancel(client: &Client, id: &str, grace: &str) {
    let reply = client.post(&format!("/v1/jobs/{id}/cancel?grace={grace}")).send().await;
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[tokio::test]
async fn guest_of_any_job_finds_the_end_of_its_stdin_and_says_farewell() {
    let (_daemon, client) = serving("farewell", guests::run::FAREWELL).await;
    for job in [
        json!({"handler": "farewell", "stdin": long_stdin()}),
        json!({"handler": "farewell", "stdin": long_stdin(), "durable": false}),
        json!({"handler": "farewell", "stdin_later": true}),
    ] {
        let id = submit_and_read(&client, &job).await;
        cancel(&client, &id, "10m").await;
        let ended = wait_for_end(&client, &id).await;
        assert_eq!(ended["outcome"], json!({"kind": "exited", "code": 0}), "{ended}");
        assert_eq!(output_of(&client, &id).await, "started\nfarewell\n");
    }
}

#[tokio::test]
async fn client_that_writes_stdin_or_is_attached_gets_the_farewell() {
    let (_daemon, client) = serving("farewell", guests::run::FAREWELL).await;
    let (call, feed) = client.run("farewell").framed().streaming_body();
    let running = tokio::spawn(call.send());
    assert!(feed.send("x").await);
    let list = async || client.get("/v1/jobs?state=running").send().await.json()["jobs"].as_array().unwrap().clone();
    let jobs = eventually("the run", async || Some(list().await).filter(|jobs| jobs.len() == 1)).await;
    cancel(&client, jobs[0]["id"].as_str().unwrap(), "10m").await;
    let framed = running.await.unwrap().frames();
    framed.assert_outcome("exited", 0);
    assert_eq!(framed.stdout, b"started\nfarewell\n");
    drop(feed);
}

#[tokio::test]
async fn guest_that_does_not_end_in_time_is_dropped() {
    let (_daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep", "stdin": "x", "retry": {"attempts": 5}})).await;
    until_state(&client, &id, "running").await;
    cancel(&client, &id, "50ms").await;
    let ended = wait_for_end(&client, &id).await;
    assert_eq!(ended["outcome"], json!({"kind": "cancelled", "by": "client"}));
}

#[tokio::test]
async fn guest_that_fails_at_its_farewell_is_not_run_again() {
    let (_daemon, client) = serving("farewell", guests::run::FAREWELL).await;
    let job =
        json!({"handler": "farewell", "args": ["7"], "stdin": long_stdin(), "retry": {"attempts": 5, "base": "1ms"}});
    let id = submit_and_read(&client, &job).await;
    cancel(&client, &id, "10m").await;
    let ended = wait_for_end(&client, &id).await;
    assert_eq!((&ended["exit_code"], ended["attempts"].as_array().unwrap().len()), (&json!(7), 1), "{ended}");
}

#[tokio::test]
async fn job_that_was_cancelled_with_a_grace_time_does_not_run_after_a_crash() {
    let (daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let id = submit(&client, &json!({"handler": "sleep", "retry": {"attempts": 5, "lost": 5, "base": "1ms"}})).await;
    until_state(&client, &id, "running").await;
    cancel(&client, &id, "10m").await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    let job = inspect(&client, &id).await;
    assert_eq!(
        (&job["state"], &job["outcome"]),
        (&json!("done"), &json!({"kind": "cancelled", "by": "client"})),
        "{job}"
    );
}
