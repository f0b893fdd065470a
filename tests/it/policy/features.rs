//! WebAssembly features: programs use those that the operator allows without being asked. Each set of features has its own engine with the same
//! limits.

use std::fs;

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon, Setup, foreach_guest, guests};
use serde_json::json;

use crate::handlers::push_multipart;
use crate::{CAPSTAN, oracle};

foreach_guest!(features, tested);

/// Starts a daemon whose operator allows all features.
fn daemon_with_features() -> Daemon {
    let toml = "[policy]\nfeatures = [\"memory64\", \"multi-memory\", \"custom-page-sizes\", \"wide-arithmetic\", \"exceptions\", \"gc\", \
                \"atomics\", \"component-async\"]";
    Setup::new(CAPSTAN).config(toml).start()
}

fn manifest(features: &[&str]) -> String {
    format!("[policy]\nfeatures = {features:?}")
}

async fn push(daemon: &Daemon, wasm: &[u8], features: &[&str]) {
    let manifest = manifest(features);
    let pushed = push_multipart(daemon, &[("module", wasm), ("manifest", manifest.as_bytes())]).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
}

async fn run_guest(client: &Client, parameters: &[(&str, &str)]) -> Framed {
    let call = parameters.iter().fold(client.run("guest").framed(), |call, (key, value)| call.query(key, value));
    call.send().await.frames()
}

/// Checks that `wasm` is rejected with advice if the operator does not allow `feature`, and otherwise runs without being asked for it, also
/// after a restart.
async fn assert_uses(feature: &str, wasm: &[u8]) {
    let narrow = Setup::new(CAPSTAN).config("[policy]\nfeatures = []").start();
    let message = push_multipart(&narrow, &[("module", wasm)]).await.error(422, "feature_disabled");
    assert!(message.contains(&format!("features = [\"{feature}\"]")), "{message}");

    let daemon = daemon_with_features();
    let pushed = push_multipart(&daemon, &[("module", wasm)]).await;
    assert_eq!((pushed.status, &pushed.json()["features"]), (201, &json!([feature])), "{pushed:?}");
    run_guest(&daemon.client(), &[]).await.assert_outcome("exited", 0);
    run_guest(&daemon.client(), &[("policy", "{\"fuel\": 1000000000}")]).await.assert_outcome("exited", 0);
    let setup = daemon.setup();
    drop(daemon);
    let mut daemon = setup.start();
    run_guest(&daemon.client(), &[]).await.assert_outcome("exited", 0);
    let reported = daemon.client().get("/v1/handlers/guest").send().await;
    assert_eq!((reported.status, &reported.json()["features"]), (200, &json!([feature])), "{reported:?}");
    let metrics = daemon.client().get("/metrics").send().await;
    assert!(metrics.text().contains("capstan_compiles_total{result=\"compiled\"} 0"), "{metrics:?}");
    oracle::still_answers(&mut daemon).await;
}

/// Runs `wasm`, which needs these features, with limits.
async fn run_with_limits(wasm: &[u8], features: &[&str], parameters: &[(&str, &str)]) -> Framed {
    let mut daemon = daemon_with_features();
    push(&daemon, wasm, features).await;
    let framed = run_guest(&daemon.client(), parameters).await;
    oracle::still_answers(&mut daemon).await;
    assert_eq!(daemon.client().running().await, 0);
    framed
}

#[tokio::test]
async fn memory64() {
    assert_uses("memory64", guests::features::MEMORY64).await;
}

#[tokio::test]
async fn multi_memory() {
    assert_uses("multi-memory", guests::features::MULTI_MEMORY).await;
}

#[tokio::test]
async fn custom_page_sizes() {
    assert_uses("custom-page-sizes", guests::features::CUSTOM_PAGE_SIZES).await;
}

#[tokio::test]
async fn wide_arithmetic() {
    assert_uses("wide-arithmetic", guests::features::WIDE_ARITHMETIC).await;
}

#[tokio::test]
async fn exceptions() {
    assert_uses("exceptions", guests::features::EXCEPTIONS).await;
}

#[tokio::test]
async fn gc() {
    assert_uses("gc", guests::features::GC).await;
}

#[tokio::test]
async fn atomics() {
    assert_uses("atomics", guests::features::ATOMICS).await;
}

#[tokio::test]
async fn component_async() {
    assert_uses("component-async", guests::features::COMPONENT_ASYNC).await;
}

/// What wasmtime enables by default needs neither a configuration nor a manifest.
#[tokio::test]
async fn default_features_of_wasmtime_are_allowed_by_default() {
    let daemon = Setup::new(CAPSTAN).start();
    let client = daemon.client();
    for (name, wasm) in [
        ("memory64", guests::features::MEMORY64),
        ("multi-memory", guests::features::MULTI_MEMORY),
        ("exceptions", guests::features::EXCEPTIONS),
        ("gc", guests::features::GC),
        ("atomics", guests::features::ATOMICS),
        ("component-async", guests::features::COMPONENT_ASYNC),
    ] {
        client.push(name, wasm).await;
        client.run(name).send().await.assert_outcome("exited", 0);
    }
    for wasm in [guests::features::CUSTOM_PAGE_SIZES, guests::features::WIDE_ARITHMETIC] {
        client.put("/v1/handlers/guest", wasm).send().await.error(422, "feature_disabled");
    }
    client.push("plain", guests::run::HELLO).await;
    assert_eq!(client.get("/v1/handlers/plain").send().await.json()["features"], json!([]));
}

#[tokio::test]
async fn grow_two_memories() {
    let wasm = guests::features::GROW_TWO_MEMORIES;
    let framed = run_with_limits(wasm, &["multi-memory"], &[("memory", "16MiB"), ("timeout", "20s")]).await;
    framed.assert_outcome("memory_denied", 137);
    assert_eq!(framed.last["usage"]["memory_peak"], 16 << 20, "{}", framed.last);
}

#[tokio::test]
async fn spin_in_memory64() {
    let wasm = guests::features::SPIN_IN_MEMORY64;
    run_with_limits(wasm, &["memory64"], &[("timeout", "300ms")]).await.assert_outcome("timed_out", 124);
    run_with_limits(wasm, &["memory64"], &[("policy", "{\"cpu\": \"100ms\"}")]).await.assert_outcome("cpu_spent", 137);
}

#[tokio::test]
async fn recurse_with_two_memories() {
    let framed = run_with_limits(guests::features::RECURSE_WITH_TWO_MEMORIES, &["multi-memory"], &[]).await;
    framed.assert_outcome("trapped", 134);
    assert_eq!(framed.outcome()["trap"], "stack_overflow", "{}", framed.last);
}

#[tokio::test]
async fn too_many_memories() {
    let daemon = daemon_with_features();
    let (wasm, manifest) = (guests::features::TOO_MANY_MEMORIES, manifest(&["multi-memory"]));
    let refused = push_multipart(&daemon, &[("module", wasm), ("manifest", manifest.as_bytes())]).await;
    assert!(refused.error(422, "module_too_complex").contains("21 memories"), "{}", refused.text());
}

#[tokio::test]
async fn manifest_can_allow_fewer_features_than_the_operator() {
    let daemon = daemon_with_features();
    let narrow = manifest(&["memory64"]);
    let parts: [(&str, &[u8]); 2] = [("module", guests::features::MULTI_MEMORY), ("manifest", narrow.as_bytes())];
    let message = push_multipart(&daemon, &parts).await.error(422, "feature_disabled");
    assert!(message.contains("features = [\"multi-memory\"]"), "{message}");
    push(&daemon, guests::features::MULTI_MEMORY, &["memory64", "multi-memory"]).await;
    let reported = daemon.client().get("/v1/handlers/guest").send().await.json();
    assert_eq!(reported["features"], json!(["multi-memory"]), "only what the program uses");
}

#[tokio::test]
async fn feature_not_allowed_by_the_operator_is_denied() {
    let daemon = Setup::new(CAPSTAN).config("[policy]\nfeatures = [\"multi-memory\"]").start();
    let manifest = manifest(&["memory64"]);
    let parts: [(&str, &[u8]); 2] = [("module", guests::features::MEMORY64), ("manifest", manifest.as_bytes())];
    let denied = push_multipart(&daemon, &parts).await;
    let message = denied.error(403, "policy_denied");
    assert!(message.contains("features memory64 of the manifest") && message.contains("the operator"), "{message}");
}

/// A lowered ceiling also applies to existing handlers.
#[tokio::test]
async fn feature_no_longer_allowed_is_denied_to_jobs() {
    let daemon = daemon_with_features();
    daemon.client().push("guest", guests::features::MEMORY64).await;
    let setup = daemon.setup();
    drop(daemon);
    fs::write(setup.folder().join("capstan.toml"), "[policy]\nfeatures = [\"gc\"]").unwrap();
    let daemon = setup.start();
    let message = daemon.client().run("guest").send().await.error(403, "policy_denied");
    assert!(message.contains("features memory64"), "{message}");
}

#[tokio::test]
async fn caller_cannot_request_features() {
    let daemon = daemon_with_features();
    daemon.client().push("guest", guests::run::HELLO).await;
    let requested = json!({"features": ["memory64"]}).to_string();
    let denied = daemon.client().run("guest").query("policy", &requested).send().await;
    let message = denied.error(403, "policy_denied");
    assert!(message.contains("a caller cannot choose them"), "{message}");
}
