//! SIGHUP reloads the policy of jobs, completely or not at all.

use std::fs;
use std::path::PathBuf;

use capstan_tests::{Client, Daemon, eventually, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::{configured, oracle};

fn file(daemon: &Daemon) -> PathBuf {
    daemon.setup().folder().join("capstan.toml")
}

/// Replaces the configuration, reloads it, and returns the reload event.
pub(crate) async fn reload(daemon: &Daemon, client: &Client, toml: &str) -> Value {
    let reloads = async || {
        let events = client.get("/v1/events?since=0&until=0s&filter=event%3Ddaemon.reload").send().await;
        let lines = events.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.collect::<Vec<_>>()
    };
    let before = reloads().await.len();
    fs::write(file(daemon), toml).unwrap();
    daemon.signal(Signal::HUP);
    eventually("a reload event", async || reloads().await.get(before).cloned()).await
}

async fn effective_memory(client: &Client, handler: &str) -> Value {
    let requested = json!({"handler": handler}).to_string();
    client.post("/v1/policy/check").body(requested).send().await.json()["policy"]["memory"].clone()
}

#[tokio::test]
async fn reload_changes_the_policy_but_not_that_of_existing_jobs() {
    let (mut daemon, client) =
        configured("[policy]\nmemory = \"64MiB\"\ntimeout = \"1h\"\n", "cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    let event = reload(&daemon, &client, "[policy]\nmemory = \"32MiB\"\ntimeout = \"50ms\"\n").await;
    assert_eq!(event["error"], Value::Null, "{event}");
    assert_eq!(effective_memory(&client, "cat").await, 32 << 20);
    assert_eq!(client.get("/v1/info").send().await.json()["limits"]["memory"], 32 << 20);
    let later = submit(&client, &json!({"handler": "cat", "stdin_later": true})).await;
    assert_eq!(wait_for_end(&client, &later).await["outcome"]["kind"], "timed_out");
    // The existing job keeps the policy that it was given.
    let fed = client.put(&format!("/v1/jobs/{id}/stdin"), "on and on").send().await;
    assert_eq!(fed.status, 204);
    let job = wait_for_end(&client, &id).await;
    assert_eq!((&job["outcome"]["kind"], &job["policy"]["memory"]), (&json!("exited"), &json!(64 << 20)));
    // Resources that are not part of the policy still exist.
    let scratch = client.run("cat").query("policy", r#"{"scratch": "1MiB", "timeout": "50ms"}"#).send().await;
    scratch.assert_outcome("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn invalid_file_changes_nothing_and_is_reported() {
    let (mut daemon, client) = configured("[policy]\nmemory = \"64MiB\"\n", "cat", guests::run::CAT).await;
    for (toml, why) in [
        ("[policy]\nmemory = \"32MiB\"\nmemroy = 1\n", "did you mean `memory`"),
        ("[policy]\nmemory = \"32MiB\"\n[mounts.gone]\npath = \"/nowhere/at/all\"\n", "gone"),
        ("[policy]\nmemory = \"32MiB\"\n[secrets.key]\nfile = \"/nowhere/at/all\"\nhandlers = [\"*\"]\n", "key"),
        ("[policy]\nmemory = 0\n", "no room"),
        ("= =", "capstan.toml"),
    ] {
        let event = reload(&daemon, &client, toml).await;
        assert!(event["error"].as_str().unwrap_or_default().contains(why), "{why}: {event}");
        assert_eq!(effective_memory(&client, "cat").await, 64 << 20, "{toml}");
    }
    daemon.until_logged(&["what was there before stays"]).await;
    fs::remove_file(file(&daemon)).unwrap();
    daemon.signal(Signal::HUP);
    daemon.until_logged(&["cannot read configuration file"]).await;
    assert_eq!(effective_memory(&client, "cat").await, 64 << 20);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named() {
    let (daemon, client) = configured("[policy]\nmemory = \"64MiB\"\n", "cat", guests::run::CAT).await;
    let toml = "grace = \"3s\"\n[limits]\nruns = 7\n[policy]\nmemory = \"1GiB\"\n";
    let event = reload(&daemon, &client, toml).await;
    assert_eq!(event["error"], Value::Null, "{event}");
    daemon.until_logged(&["grace, [limits]", "takes effect at the next start"]).await;
    daemon.until_logged(&["policy.memory stays at its old value until the next start"]).await;
    assert_eq!(effective_memory(&client, "cat").await, 64 << 20);
}
