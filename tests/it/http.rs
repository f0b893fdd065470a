//! The API as HTTP: routes, versions, methods, and the checks of `Host` and `Origin`.

mod clients;
mod cors;
mod http2;
mod malformed;
mod slow_clients;
mod smuggling;
mod websocket;

use capstan_tests::{Client, Daemon, Setup, guests};
use rustix::process::Signal;
use serde_json::Value;

use crate::{CAPSTAN, serving};

#[tokio::test]
async fn every_route_works_with_and_without_version_prefix() {
    let daemon = Daemon::start(CAPSTAN);
    for client in [daemon.client(), daemon.unix_client()] {
        for path in ["/_ping", "/_ready", "/version", "/info", "/handlers"] {
            for prefix in ["", "/v1"] {
                let reply = client.get(&format!("{prefix}{path}")).send().await;
                assert_eq!(reply.status, 200, "{prefix}{path}: {reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn version_and_info_describe_the_daemon() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    let version = client.get("/v1/version").send().await;
    assert_eq!(version.header("content-type"), Some("application/json"));
    let version = version.json();
    assert_eq!((&version["api_version"], &version["min_api_version"]), (&"1".into(), &"1".into()), "{version}");
    assert!(version["wasmtime"].as_str().unwrap().starts_with("48."), "{version}");
    client.run("hello").send().await.assert_outcome("exited", 0);

    let info = client.get("/v1/info").send().await.json();
    assert_eq!(info["state"], "running");
    assert_eq!(info["version"], version["version"]);
    assert_eq!(info["jobs"]["running"], 0, "services must not count as running jobs: {info}");
    assert!(info["jobs"]["total"].as_u64().unwrap() >= 1, "{info}");
    assert!(info["handlers"].as_u64().unwrap() >= 6, "{info}");
    assert_eq!(info["limits"]["memory"], 256 << 20, "{info}");
    assert!(info["data"].as_str().unwrap().starts_with(daemon.setup().folder().to_str().unwrap()), "{info}");
}

#[tokio::test]
async fn unsupported_version_is_rejected_with_the_supported_range() {
    let daemon = Daemon::start(CAPSTAN);
    for version in ["/v0", "/v2", "/v99", "/v1.1"] {
        let message = daemon.client().get(&format!("{version}/_ping")).send().await.error(400, "unsupported_version");
        assert!(message.contains('1'), "the supported versions are missing: {message}");
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let daemon = Daemon::start(CAPSTAN);
    for path in
        ["/", "/v1", "/v1/", "/nothing", "/v1/nothing", "/handlers/", "/_ping/", "/v1/v1/_ping", "/version1", "//_ping"]
    {
        daemon.client().get(path).send().await.error(404, "not_found");
    }
}

#[tokio::test]
async fn wrong_method_is_rejected_with_the_allowed_methods() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    assert_method_rejected(&client, "POST", "/_ping", &["GET", "HEAD"]).await;
    assert_method_rejected(&client, "PUT", "/v1/handlers", &["GET"]).await;
    assert_method_rejected(&client, "PATCH", "/v1/handlers/hello", &["GET", "PUT", "DELETE"]).await;
    assert_method_rejected(&client, "GET", "/v1/handlers/hello/run", &["POST"]).await;
    assert_method_rejected(&client, "BREW", "/v1/version", &["GET"]).await;
}

async fn assert_method_rejected(client: &Client, method: &str, path: &str, allowed: &[&str]) {
    let reply = client.call(method, path).send().await;
    reply.error(405, "method_not_allowed");
    let allow: Vec<_> = reply.header("allow").expect("405 has Allow").split(',').map(str::trim).collect();
    for method in allowed {
        assert!(allow.contains(method), "{path}: {method} is missing in {allow:?}");
    }
    assert!(!allow.contains(&method), "{path}: {method} must not be in {allow:?}");
}

#[tokio::test]
async fn head_returns_the_headers_of_get() {
    let daemon = Daemon::start(CAPSTAN);
    let get = daemon.client().get("/v1/version").send().await;
    let head = daemon.client().call("HEAD", "/v1/version").send().await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("content-type"), get.header("content-type"));
}

#[tokio::test]
async fn unknown_host_is_rejected_on_tcp() {
    let daemon = Daemon::start(CAPSTAN);
    let (tcp, unix) = (daemon.client(), daemon.unix_client());
    let port = daemon.addr().port();
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"] {
        tcp.get("/v1/_ping").header("host", host).send().await.error(403, "host_not_allowed");
        assert_eq!(unix.get("/v1/_ping").header("host", host).send().await.status, 200, "{host}");
    }
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned(), "127.0.0.1".to_owned()]
    {
        let reply = tcp.get("/v1/_ping").header("host", &host).send().await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
    }
}

#[tokio::test]
async fn cross_origin_page_cannot_run_jobs() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    for origin in ["http://evil.example", "null", "http://127.0.0.1.evil.example"] {
        let reply = client.run("hello").header("origin", origin).send().await;
        assert_eq!(reply.status, 403, "{origin}: {reply:?}");
    }
    let own = format!("http://{}", daemon.addr());
    client.run("hello").header("origin", &own).send().await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn http2_works_with_prior_knowledge() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    for client in [client, daemon.unix_client()] {
        let reply = client.run("cat").http2().body("over h2").send().await;
        reply.assert_outcome("exited", 0);
        assert_eq!(reply.text(), "over h2");
    }
}

#[tokio::test]
async fn streamed_json_ends_with_a_complete_line_at_shutdown() {
    let mut daemon = Setup::new(CAPSTAN).config("grace = \"200ms\"\n").start();
    let client = daemon.client();
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let events = client.get("/v1/events").query("since", "0").open().await;
    let job = client.post("/v1/jobs").body(r#"{"handler":"sleep"}"#).send().await.json();
    let id = job["id"].as_str().unwrap();
    crate::jobs::durable::until_state(&client, id, "running").await;
    let waiting = client.post(&format!("/v1/jobs/{id}/wait")).open().await;
    daemon.signal(Signal::TERM);
    let (events, waiting) = (events.finish().await, waiting.finish().await);
    assert!(!events.cut && !waiting.cut, "{events:?} {waiting:?}");
    let waited = waiting.json();
    assert_eq!((&waited["state"], &waited["attempts"][0]["outcome"]["by"]), (&"retrying".into(), &"shutdown".into()));
    let kinds: Vec<_> = events.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert!(events.text().ends_with('\n') && kinds.len() >= 4, "{kinds:?}");
    assert_eq!(kinds.last().unwrap()["job"], job["id"], "the end of the last job must be the last event: {kinds:?}");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}
