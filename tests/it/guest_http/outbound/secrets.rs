//! Placeholders: the guest has a token, and only requests of its rule carry the secret.

use std::fs;

use capstan_tests::{Client, Daemon, Setup, guests};
use serde_json::{Value, json};

use super::upstream::Upstream;
use super::{fetch, stdout};
use crate::CAPSTAN;
use crate::handlers::push_with_manifest;

const SECRET: &str = "hunter2-and-more";

/// Starts a daemon that offers `key` for requests to `/v1/` of `base` only.
async fn daemon(base: &str) -> (Daemon, Client) {
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("key");
    fs::write(&path, SECRET).unwrap();
    let config = format!(
        "[policy]\nhttp = [\"{base}\"]\n[secrets.key]\nfile = {path:?}\nhandlers = [\"*\"]\nhttp = [\"{base}/v1/\"]\n"
    );
    let daemon = setup.config(&config).start();
    let client = daemon.client();
    client.push("fetch", guests::compiled("fetch.p2")).await;
    (daemon, client)
}

fn policy(base: &str) -> Value {
    let rule =
        json!({"url": format!("{base}/v1/"), "secrets": ["key=API_KEY"], "headers": ["authorization", "x-api-key"]});
    json!({"http": [base, rule]})
}

#[tokio::test]
async fn placeholder_becomes_the_secret_in_allowed_fields_of_its_rule_only() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (daemon, client) = daemon(&base).await;
    let policy = policy(&base);
    let (inside, outside) = (format!("{base}/v1/count"), format!("{base}/count"));
    for (url, field, has_secret) in [
        (&inside, "authorization:Bearer $API_KEY", true),
        (&inside, "x-api-key:$API_KEY", true),
        (&inside, "cookie:$API_KEY", false),
        (&outside, "authorization:Bearer $API_KEY", false),
    ] {
        let before = upstream.requests().len();
        let framed = fetch(&client, &policy, &["POST", url, "-H", field, "-b", "$API_KEY"]).await;
        // The body has the token: the length of `capstan-secret-` and 32 digits.
        assert_eq!(stdout(&framed), "200\n47\n", "{}", framed.last);
        let request = upstream.requests()[before].clone();
        assert_eq!(request.contains(SECRET), has_secret, "{field}: {request}");
        assert_eq!(request.contains("capstan-secret-"), !has_secret, "{field}: {request}");
        assert!(!framed.last.to_string().contains(SECRET), "{}", framed.last);
    }
    // Not in the URL.
    let before = upstream.requests().len();
    let framed = fetch(&client, &policy, &["GET", &format!("{base}/v1/?key=$API_KEY")]).await;
    framed.assert_outcome("exited", 0);
    assert!(!upstream.requests()[before].contains(SECRET));
    assert!(!daemon.log().contains(SECRET));
}

#[tokio::test]
async fn secret_is_masked_in_what_the_server_reflects() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(&base).await;
    let url = format!("{base}/v1/reflect");
    let framed = fetch(&client, &policy(&base), &["GET", &url, "-H", "authorization:Bearer $API_KEY"]).await;
    let mask = "*".repeat(SECRET.len());
    assert_eq!(stdout(&framed), format!("200\nx-reflected: Bearer {mask}\n<Bearer {mask}>\n"));
    assert!(upstream.requests()[0].contains(&format!("authorization: Bearer {SECRET}\n")));
}

#[tokio::test]
async fn secret_for_requests_is_never_a_variable() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(&base).await;
    for requested in [
        json!({"secrets": [{"name": "key"}]}),
        json!({"http": [{"url": base, "secrets": ["key"]}]}),
        json!({"http": [{"url": format!("{base}/v1/"), "secrets": ["none"]}]}),
    ] {
        let refused = client.run("fetch").query("policy", &requested.to_string()).send().await;
        refused.error(403, "policy_denied");
    }
    assert_eq!(upstream.connections(), 0);
    // Each run has its own token.
    let url = format!("{base}/v1/");
    for _ in 0..2 {
        fetch(&client, &policy(&base), &["GET", &url, "-H", "cookie:$API_KEY"]).await.assert_outcome("exited", 0);
    }
    let requests = upstream.requests();
    let cookie = |request: &str| request.lines().find(|line| line.starts_with("cookie")).unwrap().to_owned();
    assert_ne!(cookie(&requests[0]), cookie(&requests[1]));
}

#[tokio::test]
async fn job_that_answers_requests_forwards_them_with_the_secret() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("key");
    fs::write(&path, SECRET).unwrap();
    let config =
        format!("[policy]\nhttp = [\"{base}\"]\n[secrets.upstream-token]\nfile = {path:?}\nhandlers = [\"proxy\"]\n");
    let daemon = setup.config(&config).start();
    let client = daemon.client();
    let manifest = format!(
        "name = \"proxy\"\n[env]\nUPSTREAM = \"{base}\"\n[policy]\nhttp = [{{ url = \"{base}\", methods = [\"GET\"], secrets = [\"upstream-token\"] }}]\n"
    );
    push_with_manifest(&client, "proxy", &guests::compiled("proxy"), &manifest).await;
    let reply = client.get("/x/proxy/reflect?q=1").send().await;
    assert_eq!((reply.status, reply.text()), (200, &*format!("<Bearer {}>", "*".repeat(SECRET.len()))));
    let request = &upstream.requests()[0];
    assert!(request.starts_with("HTTP/1.1 GET /reflect?q=1\n"), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {SECRET}\n")), "{request}");
    assert_eq!(client.post("/x/proxy/reflect").send().await.status, 405);
    assert_eq!(upstream.requests().len(), 1);
}
