//! Webhooks: calls to other services when durable jobs end, with a real receiver.

mod configuration;
mod receiver;
mod retries;
mod tls;

use std::net::SocketAddr;

use capstan_tests::{Client, Daemon, Setup, eventually, guests};
use serde_json::{Value, json};

use self::receiver::{KEY, Received, Receiver};
use crate::CAPSTAN;
use crate::jobs::api::{inspect, output_of, submit};
use crate::jobs::durable::until_state;

/// The variable that has the key.
const VARIABLE: &str = "HOOK_KEY";

/// Returns a section that calls `address` for the handler `print`, with retries that a test can wait for.
fn section(address: SocketAddr, more: &str) -> String {
    format!(
        "[webhooks.audit]\nurl = \"http://{address}/hooks?from=capstan\"\nsecret = {{ env = \"{VARIABLE}\" }}\nhandlers = [\"print\"]\n\
         retry = {{ attempts = 1000, backoff = \"constant\", base = \"50ms\" }}\n{more}"
    )
}

/// Returns the settings of a daemon with this configuration, whose webhooks have the key.
fn setup(toml: &str) -> Setup {
    Setup::new(CAPSTAN).env(VARIABLE, std::str::from_utf8(KEY).unwrap()).config(toml)
}

/// Starts a daemon with the handlers `print`, which exits with its argument, and `other`, which does the same.
async fn serving(toml: &str) -> (Daemon, Client) {
    let daemon = setup(toml).start();
    let client = daemon.client();
    for handler in ["print", "other"] {
        client.push(handler, guests::run::PRINT_THEN_EXIT.to_vec()).await;
    }
    (daemon, client)
}

async fn submit_print(client: &Client, code: &str) -> String {
    submit(client, &json!({"handler": "print", "args": [code], "labels": {"team": "a"}})).await
}

/// Returns the deliveries, the latest first.
async fn deliveries(client: &Client) -> Vec<Value> {
    client.get("/v1/jobs?handler=webhook").send().await.json()["jobs"].as_array().unwrap().clone()
}

/// Returns the only delivery once it has a run that has failed `times` times.
async fn until_failed(client: &Client, times: usize) -> Value {
    let failed = |delivery: &Value| {
        let attempts = delivery["attempts"].as_array().unwrap().iter();
        attempts.filter(|attempt| attempt["exit_code"] == 1).count()
    };
    eventually(format_args!("a delivery to fail {times} times"), async || {
        deliveries(client).await.pop().filter(|delivery| failed(delivery) >= times)
    })
    .await
}

/// Compares a request with the job that it is about, as the API shows it.
async fn assert_tells_of(received: &Received, client: &Client, job: &str) {
    let payload = received.verified();
    let job = inspect(client, job).await;
    let delivery = received.header("webhook-id");
    let expected = json!({
        "event": "job.end", "delivery": delivery, "webhook": "audit", "job": job["id"], "handler": job["handler"],
        "state": job["state"], "outcome": job["outcome"], "exit_code": job["exit_code"], "error": job["error"],
        "attempts": job["attempts"].as_array().unwrap().len(), "labels": job["labels"], "submitted": job["created"],
        "ended": job["ended"],
    });
    assert_eq!(payload, expected);
    let (method, path) = (received.method.as_str(), received.path.as_str());
    assert_eq!((method, path, received.header("content-type")), ("POST", "/hooks?from=capstan", "application/json"));
    let sent: i64 = received.header("webhook-timestamp").parse().unwrap();
    let ended: jiff::Timestamp = job["ended"].as_str().unwrap().parse().unwrap();
    assert!((ended.as_second()..=jiff::Timestamp::now().as_second()).contains(&sent), "{sent}");
    let record = inspect(client, delivery).await;
    assert_eq!(
        (&record["handler"], &record["parent"], &record["args"]),
        (&json!("webhook"), &job["id"], &json!(["audit"]))
    );
}

#[tokio::test]
async fn success_and_failure_are_delivered_with_a_signature() {
    let mut receiver = Receiver::start([]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    for code in ["0", "7"] {
        let job = submit_print(&client, code).await;
        let received = receiver.next().await;
        assert_tells_of(&received, &client, &job).await;
        let delivery = received.header("webhook-id");
        until_state(&client, delivery, "done").await;
        assert_eq!(output_of(&client, delivery).await, "204 No Content\n");
        let of_job = client.get(&format!("/v1/jobs?label=capstan.job={job}")).send().await.json();
        assert_eq!(of_job["jobs"][0]["id"], delivery);
    }
    receiver.assert_no_more();
}

#[tokio::test]
async fn only_named_handlers_and_outcomes_are_delivered() {
    let mut receiver = Receiver::start([]);
    let (_daemon, client) = serving(&section(receiver.address, "on = \"failure\"")).await;
    for job in [json!({"handler": "other", "args": ["7"]}), json!({"handler": "print", "args": ["0"]})] {
        let id = submit(&client, &job).await;
        until_state(&client, &id, "done").await;
    }
    let in_memory = json!({"handler": "print", "args": ["7"], "durable": false});
    let id = submit(&client, &in_memory).await;
    until_state(&client, &id, "done").await;
    let failed = submit_print(&client, "7").await;
    assert_tells_of(&receiver.next().await, &client, &failed).await;
    assert_eq!(deliveries(&client).await.len(), 1);
    receiver.assert_no_more();
}

#[tokio::test]
async fn end_without_a_run_is_delivered() {
    let mut receiver = Receiver::start([]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    client.post("/v1/queues/print/pause").send().await;
    let cancelled = submit_print(&client, "0").await;
    assert_eq!(client.post(&format!("/v1/jobs/{cancelled}/cancel")).send().await.status, 202);
    let received = receiver.next().await;
    assert_tells_of(&received, &client, &cancelled).await;
    assert_eq!(
        (&received.verified()["outcome"]["kind"], &received.verified()["attempts"]),
        (&json!("cancelled"), &json!(0))
    );
    let failed = submit(&client, &json!({"handler": "other", "args": ["7"]})).await;
    let dependant = submit(&client, &json!({"handler": "print", "after": [{"job": failed}]})).await;
    let received = receiver.next().await;
    assert_tells_of(&received, &client, &dependant).await;
    assert_eq!(received.verified()["outcome"]["kind"], "refused");
}

#[tokio::test]
async fn job_that_is_lost_with_the_daemon_is_delivered() {
    let mut receiver = Receiver::start([]);
    let (daemon, client) = serving(&section(receiver.address, "on = { outcome = [\"lost\"] }")).await;
    client.push("print", guests::limits::SLEEP_FOR_EVER.to_vec()).await;
    let job = submit(&client, &json!({"handler": "print", "retry": {"lost": 0}})).await;
    until_state(&client, &job, "running").await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    let received = receiver.next().await;
    assert_tells_of(&received, &client, &job).await;
    assert_eq!(
        (&received.verified()["state"], &received.verified()["outcome"]["kind"]),
        (&json!("dead"), &json!("lost"))
    );
}

#[tokio::test]
async fn clients_can_neither_send_nor_change_deliveries() {
    let mut receiver = Receiver::start([]);
    let (_daemon, client) = serving(&section(receiver.address, "")).await;
    let forged = json!({"handler": "webhook", "args": ["audit"], "stdin": "{\"event\":\"job.end\"}"});
    client.post("/v1/jobs").body(forged.to_string()).send().await.error(403, "service");
    let in_memory = json!({"handler": "webhook", "args": ["audit"], "durable": false});
    client.post("/v1/jobs").body(in_memory.to_string()).send().await.error(403, "service");
    client.run("webhook").arg("audit").send().await.error(403, "service");
    let batch = client.post("/v1/jobs/batch").body(format!("{forged}\n")).send().await;
    assert!(batch.text().contains("\"service\""), "{batch:?}");
    let job = submit_print(&client, "0").await;
    let first = receiver.next().await;
    assert_tells_of(&first, &client, &job).await;
    let delivery = first.header("webhook-id");
    until_state(&client, delivery, "done").await;
    let edit = json!({"args": ["other"]}).to_string();
    client.post(&format!("/v1/jobs/{delivery}/retry")).body(edit).send().await.error(403, "service");
    // It can be sent once more as it is, and receivers recognise it by its id.
    assert_eq!(client.post(&format!("/v1/jobs/{delivery}/retry")).send().await.status, 202);
    let again = receiver.next().await;
    assert_eq!((again.header("webhook-id"), &again.body), (delivery, &first.body));
    again.verified();
    client.put("/v1/handlers/webhook", guests::run::HELLO).send().await.error(403, "builtin");
    receiver.assert_no_more();
}
