//! Limits on time, bytes, connections and fields, and the end of a run in the middle of a request.

use capstan_tests::eventually;
use serde_json::json;

use super::upstream::Upstream;
use super::{assert_denied, daemon, fetch, http_policy, network_usage, stdout};

#[tokio::test]
async fn slow_server_ends_at_the_limits_of_the_guest() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let policy = http_policy(base.as_str());
    let never = fetch(&client, &policy, &["GET", &format!("{base}/never"), "-t", "300"]).await;
    assert_eq!(stdout(&never), "error: ErrorCode::HttpResponseTimeout\n");
    let stalled = fetch(&client, &policy, &["GET", &format!("{base}/stalled"), "-t", "300"]).await;
    assert!(stdout(&stalled).starts_with("200\nstart"), "{}", stdout(&stalled));
    assert!(stdout(&stalled).contains("error: body: "), "{}", stdout(&stalled));
    eventually("the connections to close", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn run_that_ends_in_a_request_closes_its_connection() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let requested = json!({"http": [base], "timeout": "300ms"});
    for path in ["never", "stalled"] {
        let framed = fetch(&client, &requested, &["GET", &format!("{base}/{path}")]).await;
        framed.assert_outcome("timed_out", 124);
    }
    eventually("the connections to close", async || (upstream.open() == 0).then_some(())).await;
    // A client that goes away cancels the run.
    let call = client.run("fetch").query("policy", &http_policy(base.as_str()).to_string());
    let call = call.arg("GET").arg(&format!("{base}/never"));
    let pending = tokio::task::spawn(async move { call.framed().send().await.frames() });
    eventually("the request to arrive", async || (upstream.requests().len() == 3).then_some(())).await;
    pending.abort();
    eventually("the connection to close", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn endless_bodies_end_at_the_limit_on_traffic() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let requested = json!({"http": [base], "traffic": 100_000});
    let framed = fetch(&client, &requested, &["GET", &format!("{base}/endless")]).await;
    framed.assert_outcome("network_cap", 137);
    assert_eq!(framed.outcome()["what"], "traffic");
    let peer = &network_usage(&framed)["peers"][0];
    let total = peer["sent_bytes"].as_u64().unwrap() + peer["received_bytes"].as_u64().unwrap();
    assert_eq!(total, 100_000, "{peer}");
    let framed = fetch(&client, &requested, &["POST", &format!("{base}/discard"), "-B", "1000000"]).await;
    framed.assert_outcome("network_cap", 137);
    let sent = network_usage(&framed)["peers"][0]["sent_bytes"].as_u64().unwrap();
    assert!((90_000..=100_000).contains(&sent), "{sent}");
    // Within the limit, the whole body arrives.
    let framed = fetch(&client, &requested, &["POST", &format!("{base}/count"), "-B", "50000"]).await;
    assert_eq!(stdout(&framed), "200\n50000\n");
    eventually("the other connections to close", async || (upstream.open() == 1).then_some(())).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_denied() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let requested = json!({"http": [base], "connections": 0});
    let framed = fetch(&client, &requested, &["GET", &format!("{base}/hello")]).await;
    assert_eq!(stdout(&framed), "error: ErrorCode::ConnectionLimitReached\n");
    framed.assert_outcome("network_cap", 137);
    assert_eq!((&framed.outcome()["what"], upstream.connections()), (&json!("connections"), 0));
}

#[tokio::test]
async fn heads_over_the_limits_are_errors() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let policy = http_policy(base.as_str());
    for path in ["fields", "long-field"] {
        let framed = fetch(&client, &policy, &["GET", &format!("{base}/{path}")]).await;
        assert!(stdout(&framed).contains("HttpResponseHeaderSectionSize"), "{path}: {}", stdout(&framed));
    }
    let url = format!("{base}/hello");
    let framed = fetch(&client, &policy, &["GET", &url, "-F", "200"]).await;
    assert_denied(&framed, "ErrorCode::HttpRequestHeaderSectionSize", "section size");
    assert_eq!(upstream.requests().len(), 2);
}
