//! Claimed routes on `--serve` listeners, static files, the access log and the trace context.

use std::fs;

use capstan_tests::{Address, Client, Daemon, Reply, Setup, eventually, guests};
use serde_json::{Value, json};

use crate::handlers::files::{archive, push};
use crate::handlers::try_push_with_manifest;
use crate::{CAPSTAN, oracle};

/// The context of the example in the specification.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Starts a daemon that serves routes, and returns clients of the API and of the routes.
pub(super) fn start(setup: Setup) -> (Daemon, Client, Client) {
    let daemon = setup.arg("--serve").arg("tcp://127.0.0.1:0").start();
    let (api, routes) = (daemon.client(), routes_of(&daemon));
    (daemon, api, routes)
}

/// Returns a client of the routes of a daemon.
fn routes_of(daemon: &Daemon) -> Client {
    let address = daemon.printed().iter().find_map(|line| line.strip_prefix("serving routes on tcp://"));
    Client::new(Address::Tcp(address.expect("the daemon serves routes").parse().unwrap()))
}

/// Pushes the guest `web`, whose response to `/head…` shows the request.
async fn push_web(api: &Client, name: &str, manifest: &str) -> Reply {
    try_push_with_manifest(api, name, &guests::compiled("web"), manifest).await
}

async fn listed(api: &Client) -> Vec<(String, String)> {
    let routes = api.get("/v1/routes").send().await.json();
    let text = |route: &Value, name: &str| route[name].as_str().unwrap().to_owned();
    let routes = routes["routes"].as_array().unwrap();
    routes.iter().map(|route| (text(route, "handler"), text(route, "path"))).collect()
}

#[tokio::test]
async fn route_is_answered_by_its_handler_with_the_full_path() {
    let (mut daemon, api, routes) = start(Setup::new(CAPSTAN));
    assert_eq!(routes.get("/hello").send().await.error(404, "not_found"), "no handler claims this path");
    let manifest = "[[route]]\npath = \"/head/{id}\"\nmethods = [\"GET\"]\n[[route]]\npath = \"/hello\"\n\
                    [[route]]\npath = \"/print\"\nhost = \"*.example.com\"\n";
    assert_eq!(push_web(&api, "web", manifest).await.status, 201);
    assert_eq!(routes.get("/hello").send().await.text(), "hello\n");
    assert_eq!(routes.get("/hello").http2().send().await.text(), "hello\n");
    let head = routes.get("/head/a%2Fb?c=d").send().await;
    assert_eq!(head.status, 200);
    assert!(head.text().contains("/head/a%2Fb?c=d"), "{head:?}");
    assert!(head.header("capstan-job").is_some() && head.header("content-security-policy").is_none(), "{head:?}");
    let other = routes.post("/head/1").send().await;
    assert_eq!((other.status, other.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(routes.get("/print").send().await.status, 404);
    assert_eq!(routes.get("/print").header("host", "A.Example.com:80").send().await.text(), "ok\n");
    // Nothing of the API is there.
    for path in ["/v1/info", "/info", "/x/web/hello", "/debug/vars", "/_ping"] {
        routes.get(path).send().await.error(404, "not_found");
    }
    for path in ["/head/..", "/head/%2e%2E", "/head/%00", "/head/%ff"] {
        routes.get(path).send().await.error(400, "bad_request");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn routes_follow_their_handler_and_survive_a_restart() {
    let (daemon, api, routes) = start(Setup::new(CAPSTAN));
    push_web(&api, "a", "[[route]]\npath = \"/hello\"\n").await;
    assert_eq!(listed(&api).await, [("a".to_owned(), "/hello".to_owned())]);
    push_web(&api, "a", "[[route]]\npath = \"/print\"\n").await;
    assert_eq!((routes.get("/hello").send().await.status, routes.get("/print").send().await.status), (404, 200));
    let (daemon, api) = daemon.kill_and_restart().await;
    let routes = routes_of(&daemon);
    assert_eq!(routes.get("/print").send().await.text(), "ok\n");
    assert_eq!(api.delete("/v1/handlers/a").send().await.status, 204);
    assert_eq!(routes.get("/print").send().await.status, 404);
    assert_eq!(listed(&api).await, []);
}

#[tokio::test]
async fn push_with_a_claimed_or_invalid_route_changes_nothing() {
    let (_daemon, api, routes) = start(Setup::new(CAPSTAN));
    push_web(&api, "first", "[[route]]\npath = \"/hello/{a}\"\n").await;
    let manifest = "[[route]]\npath = \"/print\"\n[[route]]\npath = \"/hello/{b}\"\n";
    let message = push_web(&api, "second", manifest).await.error(409, "route_conflict");
    assert!(message.contains("of handler first"), "{message}");
    api.get("/v1/handlers/second").send().await.error(404, "unknown_handler");
    assert_eq!(routes.get("/print").send().await.status, 404);
    push_web(&api, "second", "[[route]]\npath = \"x\"\n").await.error(422, "invalid_manifest");
    push_web(&api, "second", "[[route]]\npath = \"/s\"\nfiles = \".\"\n").await.error(422, "invalid_route");
    // Its own routes do not conflict with their replacement.
    assert_eq!(push_web(&api, "first", "[[route]]\npath = \"/hello/{c}\"\n").await.status, 200);
}

#[tokio::test]
async fn files_of_a_handler_are_served() {
    let (_daemon, api, routes) = start(Setup::new(CAPSTAN));
    let large = vec![b'x'; 300_000];
    let files = [
        ("public/index.html", &b"<p>index"[..]),
        ("public/docs/index.html", b"docs"),
        ("public/data.json", b"0123456789"),
        ("public/large.bin", &large),
        ("secret.txt", b"secret"),
    ];
    let manifest =
        b"[[route]]\npath = \"/{*path}\"\nfiles = \"public\"\n[[route]]\npath = \"/one\"\nfiles = \"secret.txt\"\n";
    let parts = [("module", &guests::compiled("web")[..]), ("files", &archive(&files)), ("manifest", &manifest[..])];
    assert_eq!(push(&api, "site", &parts).await.status, 201);
    let index = routes.get("/").send().await;
    assert_eq!((index.text(), index.header("content-type")), ("<p>index", Some("text/html; charset=utf-8")));
    assert_eq!(routes.get("/docs/").send().await.text(), "docs");
    let redirect = routes.get("/docs?a=b").send().await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("./docs/?a=b")));
    assert_eq!(routes.get("/one").send().await.text(), "secret");
    let data = routes.get("/data.json").send().await;
    assert_eq!((data.text(), data.header("content-length")), ("0123456789", Some("10")));
    let etag = data.header("etag").unwrap();
    let cached = routes.get("/data.json").header("if-none-match", etag).send().await;
    assert_eq!((cached.status, cached.text(), cached.header("etag")), (304, "", Some(etag)));
    let part = routes.get("/data.json").header("range", "bytes=2-4").send().await;
    assert_eq!((part.status, part.text(), part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    let beyond = routes.get("/data.json").header("range", "bytes=10-").send().await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let head = routes.call("HEAD", "/data.json").send().await;
    assert_eq!((head.status, head.text(), head.header("content-length")), (200, "", Some("10")));
    assert!(routes.get("/large.bin").send().await.body == large, "a file of several pieces");
    routes.get("/missing").send().await.error(404, "not_found");
    routes.get("/..%2Fsecret.txt").send().await.error(404, "not_found");
    routes.post("/data.json").send().await.error(405, "method_not_allowed");
}

#[tokio::test]
async fn api_listener_isolates_pages_of_handlers() {
    let (_daemon, api, _) = start(Setup::new(CAPSTAN));
    push_web(&api, "web", "").await;
    let reply = api.get("/x/web/hello").send().await;
    assert_eq!(reply.text(), "hello\n");
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox ") && !policy.contains("allow-same-origin"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let metrics = api.get("/v1/metrics").send().await;
    let counted = r#"path="/x/{handler}",status="2xx"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn trace_context_reaches_the_guest_and_the_access_log() {
    let setup = Setup::new(CAPSTAN);
    let log = setup.folder().join("access.log");
    let setup = setup.arg("--access-log").arg(&log).arg("--access-log-format").arg("json");
    let (_daemon, api, routes) = start(setup);
    push_web(&api, "web", "[[route]]\npath = \"/{*path}\"\n").await;
    let reply = routes.get("/head/a?b=c").header("traceparent", TRACEPARENT).header("tracestate", "k=v").send().await;
    let passed = reply.text();
    assert!(passed.contains(&format!("00-{TRACE}-")) && passed.contains("k=v"), "{passed}");
    assert!(!passed.contains(TRACEPARENT), "the handler is a span of its own: {passed}");
    let untraced = routes.get("/head").header("traceparent", "00-bad").send().await;
    assert!(untraced.text().contains("traceparent") && !untraced.text().contains("00-bad"), "{untraced:?}");
    api.get("/x/missing/").send().await.error(404, "unknown_handler");
    let lines = eventually("three lines of the access log", async || {
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 3).then_some(lines)
    })
    .await;
    let first = &lines[0];
    assert_eq!((&first["trace"], &first["handler"], &first["status"]), (&json!(TRACE), &json!("web"), &json!(200)));
    assert_eq!((&first["method"], &first["target"]), (&json!("GET"), &json!("/head/a?b=c")));
    assert_eq!((&first["job"], &first["bytes"]), (&json!(reply.header("capstan-job")), &json!(passed.len())));
    assert_eq!((&lines[2]["status"], &lines[2]["job"]), (&json!(404), &Value::Null));
}

#[tokio::test]
async fn access_log_has_the_common_format_by_default() {
    let setup = Setup::new(CAPSTAN);
    let log = setup.folder().join("access.log");
    let (_daemon, api, routes) = start(setup.arg("--access-log").arg(&log));
    push_web(&api, "web", "[[route]]\npath = \"/{*path}\"\n").await;
    let reply = routes.get("/hello").send().await;
    let job = reply.header("capstan-job").unwrap();
    let line = eventually("a line of the access log", async || {
        fs::read_to_string(&log).unwrap().lines().next().map(str::to_owned)
    })
    .await;
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains(&format!("] \"GET /hello HTTP/1.1\" 200 6 {job} web ")), "{line}");
}
