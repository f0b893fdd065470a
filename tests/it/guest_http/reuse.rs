//! Instances that answer more than one request.

use capstan_tests::{Client, Daemon, Setup, eventually, guests};

use crate::CAPSTAN;
use crate::handlers::{push_with_manifest, try_push_with_manifest};
use crate::metrics::metric_value;
use crate::policy::reload::reload;

/// A daemon whose operator allows an instance to answer 100 requests.
const ALLOWED: &str = "[policy]\nreuse = 100\n";
/// A manifest of instances that wait longer than any test takes.
const PATIENT: &str = "instances = { reuse = 100, idle = \"1h\" }\n";

fn start(config: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(config).start();
    let client = daemon.client();
    (daemon, client)
}

async fn push(client: &Client, name: &str, manifest: &str) {
    push_with_manifest(client, name, &guests::compiled("web"), manifest).await;
}

/// Returns the count of an instance: how many requests to the path it has answered.
async fn count(client: &Client, path: &str) -> u32 {
    let reply = client.get(path).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().trim().parse().unwrap()
}

async fn counts(client: &Client, path: &str, requests: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    for _ in 0..requests {
        counts.push(count(client, path).await);
    }
    counts
}

/// Returns how many instances of components there are, of runs and of those that wait.
async fn instances(client: &Client) -> f64 {
    metric_value(client, "capstan_pool_slots_used{pool=\"component_instances\"}").await
}

#[tokio::test]
async fn state_is_visible_between_requests_only_if_manifest_and_operator_allow_it() {
    for (config, manifest, expected) in
        [("", "", [1, 1, 1]), ("", PATIENT, [1, 1, 1]), (ALLOWED, "", [1, 1, 1]), (ALLOWED, PATIENT, [1, 2, 3])]
    {
        let (_daemon, client) = start(config);
        push(&client, "web", manifest).await;
        assert_eq!(counts(&client, "/x/web/count", 3).await, expected, "{config:?} {manifest:?}");
    }
}

#[tokio::test]
async fn instance_answers_as_many_requests_as_the_lower_of_both_limits() {
    let (_daemon, client) = start("[policy]\nreuse = 3\n");
    push(&client, "operator", PATIENT).await;
    push(&client, "manifest", "instances = { reuse = 2, idle = \"1h\" }\n").await;
    assert_eq!(counts(&client, "/x/operator/count", 7).await, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(counts(&client, "/x/manifest/count", 5).await, [1, 2, 1, 2, 1]);
}

#[tokio::test]
async fn handlers_never_share_an_instance_and_a_replaced_one_gets_new_ones() {
    let (_daemon, client) = start(ALLOWED);
    push(&client, "a", PATIENT).await;
    push(&client, "b", PATIENT).await;
    assert_eq!(counts(&client, "/x/a/count", 2).await, [1, 2]);
    assert_eq!(counts(&client, "/x/b/count", 2).await, [1, 2]);
    push(&client, "a", PATIENT).await;
    assert_eq!(counts(&client, "/x/a/count", 2).await, [1, 2]);
    assert_eq!(count(&client, "/x/b/count").await, 3);
}

#[tokio::test]
async fn request_that_is_granted_something_else_gets_another_instance() {
    let (daemon, client) = start(ALLOWED);
    push(&client, "web", PATIENT).await;
    assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 2]);
    reload(&daemon, &client, "[policy]\nreuse = 100\nhandles = 64\n").await;
    assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 2]);
    reload(&daemon, &client, "").await;
    assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 1]);
}

#[tokio::test]
async fn handler_with_files_gets_a_new_instance_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let (_daemon, client) = start(&format!("{ALLOWED}[mounts.data]\npath = {path:?}\n"));
    push(&client, "web", &format!("{PATIENT}[policy]\nmounts = [{{ name = \"data\" }}]\n")).await;
    assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 1]);
}

#[tokio::test]
async fn instance_is_dropped_after_a_request_that_was_not_answered_to_its_end() {
    let (_daemon, client) = start(ALLOWED);
    push(&client, "web", PATIENT).await;
    for path in ["trap", "none", "error"] {
        assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 2], "before {path}");
        client.get(&format!("/x/web/{path}")).send().await.error(502, "handler_failed");
    }
    assert_eq!(count(&client, "/x/web/count").await, 1);
}

#[tokio::test]
async fn instance_is_dropped_when_its_client_disconnects() {
    let (_daemon, client) = start(ALLOWED);
    push(&client, "web", PATIENT).await;
    assert_eq!(counts(&client, "/x/web/count", 2).await, [1, 2]);
    let (call, _feed) = client.post("/x/web/echo").streaming_body();
    let exchange = call.open().await;
    assert!((instances(&client).await - 1.0).abs() < f64::EPSILON, "the same instance reads the body");
    drop(exchange);
    eventually("the instance to be dropped", async || (instances(&client).await < 1.0).then_some(())).await;
    assert_eq!(count(&client, "/x/web/count").await, 1);
}

#[tokio::test]
async fn idle_instance_is_dropped_after_its_time() {
    let (_daemon, client) = start(ALLOWED);
    push(&client, "web", PATIENT).await;
    push(&client, "short", "instances = { reuse = 100, idle = \"50ms\" }\n").await;
    assert_eq!(count(&client, "/x/web/count").await, 1);
    assert_eq!(count(&client, "/x/short/count").await, 1);
    eventually("the idle instance to be dropped", async || (instances(&client).await < 2.0).then_some(())).await;
    assert_eq!(count(&client, "/x/web/count").await, 2);
    assert_eq!(count(&client, "/x/short/count").await, 1);
}

#[tokio::test]
async fn each_request_is_a_job_with_its_own_usage_and_stderr() {
    let (_daemon, client) = start(ALLOWED);
    push(&client, "web", PATIENT).await;
    let mut peaks = Vec::new();
    for (path, expected) in [("count-print", 1), ("grow", 2), ("count-print", 3)] {
        let reply = client.get(&format!("/x/web/{path}")).send().await;
        assert_eq!(reply.text(), format!("{expected}\n"));
        let job = client.get(&format!("/jobs/{}", reply.header("capstan-job").unwrap())).send().await.json();
        let usage = &job["usage"];
        assert_eq!(usage["stdout_bytes"], 2, "{job}");
        assert_eq!(usage["stderr_bytes"], if path == "grow" { 0 } else { 2 }, "{job}");
        peaks.push(usage["memory_peak"].as_u64().unwrap());
    }
    // The memory of the instance counts for each request that it answers.
    assert!(peaks[1] >= peaks[0] + (4 << 20) && peaks[2] >= peaks[1], "{peaks:?}");
}

#[tokio::test]
async fn memory_limit_counts_what_the_instance_holds_from_earlier_requests() {
    let (_daemon, client) = start("[policy]\nreuse = 100\nmemory = \"16MiB\"\n");
    push(&client, "web", PATIENT).await;
    let mut answered = 0;
    while client.get("/x/web/grow").send().await.status == 200 {
        answered += 1;
        assert!(answered < 5, "an instance holds 20 MiB");
    }
    assert!(answered > 0);
    assert_eq!(count(&client, "/x/web/grow").await, 1, "a new instance holds nothing yet");
}

#[tokio::test]
async fn more_than_one_request_at_a_time_is_refused_with_the_reason() {
    let (_daemon, client) = start(ALLOWED);
    let manifest = "instances = { reuse = 2, concurrent = 2 }\n";
    let refused = try_push_with_manifest(&client, "web", &guests::compiled("web"), manifest).await;
    let message = refused.error(422, "invalid_manifest");
    assert!(message.contains("one request at a time"), "{message}");
}
