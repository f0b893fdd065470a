//! The API for operators.

use super::{daemon, expect};

#[tokio::test]
async fn operator_lists_reads_and_changes_keys() {
    let (_daemon, client) = daemon("").await;
    expect(&client, "a", "set x k v", "ok").await;
    let buckets = client.get("/v1/handlers/a/buckets").send().await.json();
    assert_eq!(buckets["buckets"], serde_json::json!([{"name": "x", "keys": 1, "bytes": 2}]), "{buckets}");
    assert_eq!(buckets["usage"], serde_json::json!({"bytes": 2, "keys": 1}));
    let path = "/v1/handlers/a/buckets/x/keys";
    assert_eq!(client.get(&format!("{path}/k")).send().await.text(), "v");
    assert_eq!(client.put(&format!("{path}/a%2Fb%20c"), "slash").send().await.status, 204);
    expect(&client, "a", "get x a/b", "none").await;
    assert_eq!(client.get(&format!("{path}/a%2Fb%20c")).send().await.text(), "slash");
    let page = client.get(path).query("limit", "1").send().await.json();
    assert_eq!(page["keys"], serde_json::json!(["k"]));
    let cursor = page["cursor"].as_str().unwrap();
    let page = client.get(path).query("limit", "5").query("cursor", cursor).send().await.json();
    assert_eq!((&page["keys"], page["cursor"].is_null()), (&serde_json::json!(["a/b c"]), true));
    assert_eq!(client.delete(&format!("{path}/k")).send().await.status, 204);
    client.get(&format!("{path}/k")).send().await.error(404, "not_found");
    expect(&client, "a", "get x k", "none").await;
}

#[tokio::test]
async fn operator_gets_errors_with_codes() {
    let (_daemon, client) = daemon("[policy]\nkeyvalue = \"1kB\"\n").await;
    let path = "/v1/handlers/a/buckets/x/keys/k";
    client.put(path, vec![0; 2000]).send().await.error(507, "data_quota_exceeded");
    client.put(path, vec![0; (1 << 20) + 1]).send_until_cut().await.error(413, "too_large");
    client
        .put(&format!("/v1/handlers/a/buckets/x/keys/{}", "k".repeat(1025)), "v")
        .send()
        .await
        .error(400, "invalid_key");
    client.get("/v1/handlers/a/buckets/%0A/keys").send().await.error(400, "invalid_key");
    client.get("/v1/handlers/a/buckets/x/keys").query("cursor", "y").send().await.error(400, "bad_request");
    client.get("/v1/handlers/a/buckets").query("limit", "0").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn removed_handler_keeps_its_data_unless_asked() {
    let (_daemon, client) = daemon("").await;
    for handler in ["a", "b"] {
        expect(&client, handler, "set x k v", "ok").await;
    }
    assert_eq!(client.delete("/v1/handlers/a").send().await.status, 204);
    assert_eq!(client.delete("/v1/handlers/b").query("data", "true").send().await.status, 204);
    assert_eq!(client.get("/v1/handlers/a/buckets/x/keys/k").send().await.text(), "v");
    client.get("/v1/handlers/b/buckets/x/keys/k").send().await.error(404, "not_found");
    client.push("a", capstan_tests::guests::compiled("store.p2")).await;
    expect(&client, "a", "get x k", "v").await;
}
