//! Deliveries that fail: what is repeated, and what survives the daemon.

use std::fs;

use capstan_tests::eventually;
use serde_json::json;

use super::receiver::{Answer, Receiver, refusing};
use super::{assert_tells_of, deliveries, section, serving, submit_print, until_failed};
use crate::jobs::api::{inspect, output_of};
use crate::jobs::durable::until_state;

#[tokio::test]
async fn failed_delivery_is_repeated_until_it_succeeds_once() {
    let mut receiver = Receiver::start([Answer::Status(500, "out of order"), Answer::Status(429, "")]);
    // The host is looked up.
    let toml = section(receiver.address, "").replace("127.0.0.1", "localhost");
    let (_daemon, client) = serving(&toml).await;
    let job = submit_print(&client, "0").await;
    let first = receiver.next().await;
    assert_tells_of(&first, &client, &job).await;
    for _ in 0..2 {
        let next = receiver.next().await;
        assert_eq!((next.header("webhook-id"), &next.body), (first.header("webhook-id"), &first.body));
        next.verified();
    }
    let id = first.header("webhook-id");
    until_state(&client, id, "done").await;
    let delivery = inspect(&client, id).await;
    let attempts = &delivery["attempts"];
    let port = receiver.address.port();
    let error = format!("webhook audit: localhost:{port} answered 500 Internal Server Error");
    assert_eq!((&attempts[0]["exit_code"], &attempts[0]["error"]), (&json!(1), &json!(error)));
    assert_eq!((&attempts[1]["exit_code"], &attempts[2]["exit_code"]), (&json!(1), &json!(0)));
    let output = client.get(&format!("/v1/jobs/{id}/logs?attempt=1")).send().await;
    assert_eq!(output.text(), format!("out of order\n{error}\n"));
    receiver.assert_no_more();
}

#[tokio::test]
async fn body_of_a_failure_is_kept_up_to_4_kib() {
    let long: &'static str = "x".repeat(100_000).leak();
    let mut receiver = Receiver::start([Answer::Status(503, long)]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    submit_print(&client, "0").await;
    let id = receiver.next().await.header("webhook-id").to_owned();
    until_state(&client, &id, "done").await;
    let output = client.get(&format!("/v1/jobs/{id}/logs?attempt=1")).send().await;
    assert_eq!(output.text().lines().next().unwrap().len(), 4096);
}

#[tokio::test]
async fn delivery_survives_a_killed_daemon_and_a_receiver_that_is_down() {
    let (socket, address) = refusing();
    let (daemon, client) = serving(&section(address, "")).await;
    // Nothing is sent before the daemon is killed.
    client.post("/v1/queues/webhook/pause").send().await;
    let job = submit_print(&client, "7").await;
    until_state(&client, &job, "done").await;
    assert_eq!(deliveries(&client).await[0]["state"], "queued", "it was submitted with the end");
    let (daemon, client) = daemon.kill_and_restart().await;
    client.post("/v1/queues/webhook/resume").send().await;
    let failed = until_failed(&client, 1).await;
    let error = failed["attempts"][0]["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("webhook audit: cannot connect to {address}: ")), "{error}");
    let (_daemon, client) = daemon.kill_and_restart().await;
    until_failed(&client, 2).await;
    let mut receiver = Receiver::listen(socket, [], None);
    let received = receiver.next().await;
    assert_tells_of(&received, &client, &job).await;
    until_state(&client, received.header("webhook-id"), "done").await;
    assert_eq!(deliveries(&client).await.len(), 1);
    receiver.assert_no_more();
}

#[tokio::test]
async fn gone_receiver_ends_the_delivery() {
    let mut receiver = Receiver::start([Answer::Status(410, "")]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    submit_print(&client, "0").await;
    let id = receiver.next().await.header("webhook-id").to_owned();
    until_state(&client, &id, "dead").await;
    assert_eq!(inspect(&client, &id).await["attempts"].as_array().unwrap().len(), 1);
    let output = output_of(&client, &id).await;
    assert!(output.ends_with("answered 410 Gone, so this is not sent again\n"), "{output}");
    receiver.assert_no_more();
}

#[tokio::test]
async fn hanging_receiver_is_given_up_after_the_timeout() {
    let mut receiver = Receiver::start([Answer::Hang]);
    let (_daemon, client) = serving(&section(receiver.address, "timeout = \"300ms\"")).await;
    submit_print(&client, "0").await;
    let id = receiver.next().await.header("webhook-id").to_owned();
    let error = until_failed(&client, 1).await["attempts"][0]["error"].clone();
    assert_eq!(error, format!("webhook audit: no answer from {} within 300ms", receiver.address));
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    until_state(&client, &id, "done").await;
}

#[tokio::test]
async fn hanging_receiver_leaves_slots_to_jobs() {
    let mut receiver = Receiver::start([const { Answer::Hang }; 64]);
    let toml = format!("{}[limits]\nruns = 10\n", section(receiver.address, "timeout = \"10m\"\n"));
    let (_daemon, client) = serving(&toml).await;
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(submit_print(&client, "0").await);
    }
    for job in &jobs {
        until_state(&client, job, "done").await;
    }
    assert_eq!(deliveries(&client).await.len(), jobs.len());
    let most = 8;
    assert!((1..=most).contains(&receiver.count()));
}

#[tokio::test]
async fn redirect_is_a_failure_and_is_not_followed() {
    let mut elsewhere = Receiver::start([]);
    let mut receiver = Receiver::start([Answer::Redirect(format!("http://{}/", elsewhere.address))]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    submit_print(&client, "0").await;
    let id = receiver.next().await.header("webhook-id").to_owned();
    until_state(&client, &id, "done").await;
    let error = inspect(&client, &id).await["attempts"][0]["error"].clone();
    assert!(error.as_str().unwrap().ends_with("307 Temporary Redirect, and redirects are not followed"), "{error}");
    elsewhere.assert_no_more();
}

#[tokio::test]
async fn delivery_of_a_webhook_that_was_removed_becomes_a_dead_letter() {
    let (_socket, address) = refusing();
    let (daemon, client) = serving(&section(address, "")).await;
    submit_print(&client, "0").await;
    until_failed(&client, 1).await;
    fs::write(daemon.setup().folder().join("capstan.toml"), "").unwrap();
    let (_daemon, client) = daemon.kill_and_restart().await;
    let dead = eventually("a dead letter", async || {
        deliveries(&client).await.pop().filter(|delivery| delivery["state"] == "dead")
    })
    .await;
    let error = dead["error"].as_str().unwrap();
    assert!(error.contains("webhook audit is not in the configuration"), "{error}");
}
