//! Schedules in the manifest of a handler.

use std::fs;
use std::path::Path;

use capstan_tests::{Client, Daemon, Setup, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::until_jobs;
use crate::CAPSTAN;
use crate::handlers::{push_with_manifest, try_push_with_manifest};
use crate::jobs::api::{output_of, wait_for_end};

const YEARLY: &str =
    "[[schedule]]\ncron = \"0 0 1 1 *\"\ntimezone = \"Europe/Berlin\"\noverlap = \"skip\"\nargs = [\"x\"]\n";
const HOURLY: &str = "[[schedule]]\nname = \"hourly\"\nevery = \"1h\"\n";

async fn push(client: &Client, manifest: &str) {
    push_with_manifest(client, "cat", guests::run::CAT, manifest).await;
}

/// Returns the names of all schedules, and the handlers whose manifests they come from.
async fn owners(client: &Client) -> Vec<(String, Value)> {
    let list = client.get("/v1/schedules").send().await.json();
    let schedules = list["schedules"].as_array().unwrap().iter();
    schedules.map(|schedule| (schedule["name"].as_str().unwrap().to_owned(), schedule["manifest"].clone())).collect()
}

fn from_cat(names: &[&str]) -> Vec<(String, Value)> {
    names.iter().map(|name| ((*name).to_owned(), json!("cat"))).collect()
}

async fn inspect(client: &Client, name: &str) -> Value {
    client.get(&format!("/v1/schedules/{name}")).send().await.json()
}

#[tokio::test]
async fn push_installs_replaces_and_removes_the_schedules_of_its_manifest() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push(&client, &format!("{YEARLY}{HOURLY}")).await;
    assert_eq!(owners(&client).await, from_cat(&["cat", "hourly"]));
    let yearly = inspect(&client, "cat").await;
    let definition = &yearly["definition"];
    assert_eq!(
        (&definition["time_zone"], &definition["overlap"], &definition["job"]["args"], &definition["job"]["handler"]),
        (&json!("Europe/Berlin"), &json!("skip"), &json!(["x"]), &json!("cat"))
    );
    assert!(yearly["next"][0].as_str().unwrap().ends_with("-12-31T23:00:00Z"), "{yearly}");
    push(&client, &format!("{HOURLY}labels = {{team = \"a\"}}\n[[schedule]]\nname = \"daily\"\ncron = \"@daily\"\n"))
        .await;
    assert_eq!(owners(&client).await, from_cat(&["daily", "hourly"]));
    assert_eq!(inspect(&client, "hourly").await["definition"]["job"]["labels"], json!({"team": "a"}));
    // A push without a manifest has no schedules.
    client.push("cat", guests::run::CAT).await;
    assert_eq!(owners(&client).await, []);
    push(&client, HOURLY).await;
    assert_eq!(client.delete("/v1/handlers/cat").send().await.status, 204);
    assert_eq!(owners(&client).await, []);
}

#[tokio::test]
async fn schedule_of_a_manifest_submits_jobs() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push(&client, "[[schedule]]\nname = \"often\"\nevery = \"1s\"\nstdin = \"tick\"\nlabels = {team = \"a\"}\n").await;
    for job in until_jobs(&client, "often", 2).await {
        let id = job["id"].as_str().unwrap();
        let ended = wait_for_end(&client, id).await;
        assert_eq!((&ended["exit_code"], &ended["labels"]["team"]), (&json!(0), &json!("a")));
        assert_eq!(output_of(&client, id).await, "tick");
    }
}

#[tokio::test]
async fn schedule_of_a_manifest_stays_paused_when_it_is_pushed_again() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push(&client, &format!("{YEARLY}{HOURLY}")).await;
    let paused = client.post("/v1/schedules/hourly/pause").send().await.json();
    assert_eq!((&paused["paused"], &paused["manifest"]), (&json!(true), &json!("cat")));
    push(&client, &format!("{YEARLY}{HOURLY}")).await;
    assert_eq!(inspect(&client, "hourly").await, paused);
    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(inspect(&client, "hourly").await, paused);
    push(&client, &format!("{HOURLY}jitter = \"1m\"\n")).await;
    let changed = inspect(&client, "hourly").await;
    assert_eq!((&changed["paused"], &changed["definition"]["jitter"]), (&json!(true), &json!(60.0)));
    assert_eq!(client.post("/v1/schedules/hourly/resume").send().await.json()["paused"], false);
}

#[tokio::test]
async fn schedule_that_comes_from_elsewhere_is_a_conflict_and_nothing_changes() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    client.push("cat", guests::run::CAT).await;
    let digest = client.get("/v1/handlers/cat").send().await.json()["digest"].clone();
    let definition = json!({"every": "2h", "job": {"handler": "cat"}}).to_string();
    assert_eq!(client.put("/v1/schedules/hourly", definition.clone()).send().await.status, 201);
    let before = inspect(&client, "hourly").await;
    // The other schedule is not installed either, nor is the program.
    let refused = try_push_with_manifest(&client, "cat", guests::run::HELLO, &format!("{YEARLY}{HOURLY}")).await;
    let message = refused.error(409, "schedule_conflict");
    assert!(message.contains("\"hourly\"") && message.contains("no manifest"), "{message}");
    assert_eq!(owners(&client).await, [("hourly".to_owned(), Value::Null)]);
    assert_eq!(inspect(&client, "hourly").await, before);
    assert_eq!(client.get("/v1/handlers/cat").send().await.json()["digest"], digest);

    assert_eq!(client.delete("/v1/schedules/hourly").send().await.status, 204);
    push(&client, HOURLY).await;
    let owned = inspect(&client, "hourly").await;
    let message = client.put("/v1/schedules/hourly", definition).send().await.error(409, "schedule_conflict");
    assert!(message.contains("the manifest of the handler \"cat\""), "{message}");
    client.delete("/v1/schedules/hourly").send().await.error(409, "schedule_conflict");
    try_push_with_manifest(&client, "other", guests::run::CAT, HOURLY).await.error(409, "schedule_conflict");
    client.get("/v1/handlers/other").send().await.error(404, "unknown_handler");
    assert_eq!(inspect(&client, "hourly").await, owned);
}

#[tokio::test]
async fn wrong_schedule_is_an_error_of_the_manifest_with_its_line() {
    let daemon = Setup::new(CAPSTAN).config("[policy]\nmemory = \"64MiB\"\n").start();
    let client = daemon.client();
    for (schedule, status, code, part) in [
        (
            "[[schedule]]\nname = \"a\"\ncron = \"0 0 31 2 *\"\n",
            422,
            "invalid_manifest",
            "line 4: in [[schedule]]: cron is",
        ),
        ("[[schedule]]\ncorn = \"@daily\"\n", 422, "invalid_manifest", "line 3"),
        ("[[schedule]]\nevery = \"10ms\"\n", 422, "invalid_manifest", "line 3: in [[schedule]]: every is"),
        ("[[schedule]]\nat = 2020-01-01T00:00:00Z\n", 422, "invalid_schedule", "past"),
        ("[[schedule]]\nevery = \"1h\"\npolicy = {timeout = \"soon\"}\n", 422, "invalid_manifest", "line 4"),
        ("[[schedule]]\nevery = \"1h\"\npolicy = {mounts = [{name = \"none\"}]}\n", 403, "policy_denied", "none"),
    ] {
        let manifest = format!("description = \"d\"\n{schedule}");
        let message = try_push_with_manifest(&client, "cat", guests::run::CAT, &manifest).await.error(status, code);
        assert!(message.contains(part), "{schedule}: {message}");
    }
    try_push_with_manifest(&client, "Cat", guests::run::CAT, YEARLY).await.error(400, "invalid_name");
    assert_eq!(owners(&client).await, []);
}

/// Stops a daemon. Returns its settings.
async fn stop(mut daemon: Daemon) -> Setup {
    daemon.signal(Signal::KILL);
    daemon.wait_exit().await;
    daemon.setup()
}

/// Copies the files of `from` over those of `to`, and removes the others of `to`.
fn copy_over(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap_or_default();
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_over(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Pushes a second manifest, and then puts the directory `part` of the data back to what it was before: the disk has only one of the two writes of
/// the push. Returns the daemon that starts there.
async fn with_half_a_push(part: &str) -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    push(&daemon.client(), &format!("{YEARLY}{HOURLY}")).await;
    assert_eq!(daemon.client().post("/v1/schedules/cat/pause").send().await.status, 200);
    let setup = stop(daemon).await;
    let (data, copy) = (setup.folder().join("data").join(part), setup.folder().join("copy"));
    copy_over(&data, &copy);
    let daemon = setup.start();
    push(
        &daemon.client(),
        "[[schedule]]\nname = \"hourly\"\nevery = \"2h\"\n[[schedule]]\nname = \"new\"\nevery = \"3h\"\n",
    )
    .await;
    let setup = stop(daemon).await;
    copy_over(&copy, &data);
    let daemon = setup.start();
    let client = daemon.client();
    (daemon, client)
}

#[tokio::test]
async fn schedules_are_those_of_the_manifest_if_it_was_stored_before_a_crash() {
    let (_daemon, client) = with_half_a_push("jobs").await;
    assert_eq!(owners(&client).await, from_cat(&["hourly", "new"]));
    assert_eq!(inspect(&client, "hourly").await["definition"]["every"], 7200.0);
}

#[tokio::test]
async fn schedules_are_those_of_the_old_manifest_if_the_new_one_was_not_stored_before_a_crash() {
    let (_daemon, client) = with_half_a_push("handlers").await;
    assert_eq!(owners(&client).await, from_cat(&["cat", "hourly"]));
    assert_eq!(inspect(&client, "hourly").await["definition"]["every"], 3600.0);
}
