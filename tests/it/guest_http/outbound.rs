//! Outbound HTTP requests: only what a rule allows, within limits, with accounting, and with secrets that the guest never sees.

mod limits;
mod secrets;
mod tls;
mod upstream;

use capstan_tests::frames::Framed;
use capstan_tests::{Cli, Client, Daemon, Setup, guests};
use serde_json::{Value, json};

use self::upstream::Upstream;
use crate::{CAPSTAN, oracle};

/// Starts a daemon with the guest `fetch`, with `rules` of the operator and more configuration.
async fn daemon(rules: &[String], rest: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(&format!("[policy]\nhttp = {rules:?}\n{rest}")).start();
    let client = daemon.client();
    client.push("fetch", guests::compiled("fetch.p2")).await;
    (daemon, client)
}

/// Runs `fetch`. `requested` is the requested policy, a JSON object.
async fn fetch(client: &Client, requested: &Value, args: &[&str]) -> Framed {
    let call = client.run("fetch").query("policy", &requested.to_string());
    args.iter().fold(call, |call, arg| call.arg(arg)).framed().send().await.frames()
}

fn http_policy(rule: impl Into<Value>) -> Value {
    json!({"http": [rule.into()]})
}

fn network_usage(framed: &Framed) -> &Value {
    &framed.last["usage"]["network"]
}

#[track_caller]
fn stdout(framed: &Framed) -> String {
    String::from_utf8_lossy(&framed.stdout).into_owned()
}

/// Checks that the guest got an error with `code` and that the denial is accounted for.
#[track_caller]
fn assert_denied(framed: &Framed, code: &str, reason: &str) {
    assert!(stdout(framed).starts_with(&format!("error: {code}")), "{}: {}", stdout(framed), framed.last);
    framed.assert_outcome("exited", 1);
    let denied = &network_usage(framed)["denied"][0];
    assert_eq!(denied["count"], 1, "{}", framed.last);
    assert!(denied["why"].as_str().unwrap().contains(reason), "{denied}");
}

#[tokio::test]
async fn allowed_request_is_answered_and_accounted_for() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (mut daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let framed =
        fetch(&client, &http_policy(base.as_str()), &["GET", &format!("{base}/hello?q=1"), "-H", "x-a:b"]).await;
    assert_eq!(stdout(&framed), "200\nhello\n", "{}", framed.last);
    framed.assert_outcome("exited", 0);
    let request = &upstream.requests()[0];
    assert!(request.starts_with("HTTP/1.1 GET /hello?q=1\n"), "{request}");
    assert!(request.contains(&format!("host: {}\n", upstream.address)) && request.contains("x-a: b\n"), "{request}");
    let peer = &network_usage(&framed)["peers"][0];
    assert_eq!((&peer["host"], &peer["port"]), (&json!("127.0.0.1"), &json!(upstream.address.port())));
    assert_eq!((&peer["connections"], &peer["protocol"]), (&json!(1), &json!("tcp")));
    assert!(peer["sent_bytes"].as_u64() > Some(20) && peer["received_bytes"].as_u64() > Some(20), "{peer}");
    assert_eq!(network_usage(&framed)["denied"], json!([]));
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn request_is_denied_by_each_part_of_a_rule() {
    let upstream = Upstream::http().await;
    let (address, port) = (upstream.address, upstream.address.port());
    let operator = format!("http://{address}");
    let (_daemon, client) = daemon(std::slice::from_ref(&operator), "").await;
    let nothing = json!({});
    let rule = http_policy(format!("GET http://{address}/v1/"));
    let url = |rest: &str| format!("http://{address}{rest}");
    for (requested, method, url, code, reason) in [
        (&nothing, "GET", url("/v1/x"), "ErrorCode::HttpRequestDenied", "scheme, host and port"),
        (&rule, "POST", url("/v1/x"), "ErrorCode::HttpRequestDenied", "the method"),
        (&rule, "GET", url("/v2/x"), "ErrorCode::HttpRequestDenied", "the path"),
        (&rule, "GET", url("/v1/%2e%2e/x"), "ErrorCode::HttpRequestDenied", "`..`"),
        (&rule, "GET", format!("https://{address}/v1/x"), "ErrorCode::HttpRequestDenied", "scheme, host and port"),
        (&rule, "GET", format!("http://127.0.0.1:{}/v1/x", port ^ 1), "ErrorCode::HttpRequestDenied", "host and port"),
        (&rule, "GET", format!("http://127.0.0.2:{port}/v1/x"), "ErrorCode::HttpRequestDenied", "host and port"),
        (&rule, "GET", format!("http://127.1:{port}/v1/x"), "ErrorCode::HttpRequestUriInvalid", "end in a number"),
        (&rule, "GET", format!("http://0x7f.1:{port}/v1/x"), "ErrorCode::HttpRequestUriInvalid", "end in a number"),
        (&rule, "GET", format!("http://2130706433:{port}/v1/x"), "ErrorCode::HttpRequestUriInvalid", "end in a number"),
        (
            &rule,
            "GET",
            format!("http://[::ffff:127.0.0.1]:{port}/v1/"),
            "ErrorCode::HttpRequestUriInvalid",
            "IPv6 form",
        ),
        (&rule, "GET", format!("http://user:pass@{address}/v1/x"), "ErrorCode::HttpRequestUriInvalid", "a password"),
        (&rule, "CONNECT", url("/v1/x"), "ErrorCode::HttpRequestMethodInvalid", "never sent"),
        (&rule, "TRACE", url("/v1/x"), "ErrorCode::HttpRequestMethodInvalid", "never sent"),
    ] {
        let framed = fetch(&client, requested, &[method, &url]).await;
        assert_denied(&framed, code, reason);
        assert!(!framed.last.to_string().contains("pass@"), "{}", framed.last);
    }
    let long = fetch(&client, &rule, &["GET", &url("/v1/"), "-l", "17000"]).await;
    assert_denied(&long, "ErrorCode::HttpRequestUriTooLong", "too long");
    // The library refuses these before they are requests.
    let huge = fetch(&client, &rule, &["GET", &url("/v1/"), "-l", "8388608"]).await;
    assert_eq!(stdout(&huge), "error: path refused\n");
    let host = fetch(&client, &rule, &["GET", &url("/v1/x"), "-H", "host:other.example"]).await;
    assert!(stdout(&host).contains("Forbidden"), "{}", stdout(&host));
    assert_eq!(upstream.connections(), 0);
    let allowed = fetch(&client, &rule, &["GET", &url("/v1/x")]).await;
    assert_eq!(stdout(&allowed), "200\nhello\n");
    // A caller gets no more than the operator grants.
    let other = http_policy("https://example.com");
    let refused = client.run("fetch").query("policy", &other.to_string()).send().await;
    refused.error(403, "policy_denied");
    assert!(refused.text().contains("the rules of the operator do not cover it"), "{}", refused.text());
}

#[tokio::test]
async fn name_of_this_machine_and_its_own_ports_are_denied() {
    let upstream = Upstream::http().await;
    let port = upstream.address.port();
    let everything = ["http://*:1-65535".to_owned(), "http://127.0.0.1:1-65535".to_owned()];
    let (daemon, client) = daemon(&everything, "").await;
    let requested = json!({"http": everything});
    let framed = fetch(&client, &requested, &["GET", &format!("http://localhost:{port}/hello")]).await;
    assert_denied(&framed, "ErrorCode::DestinationIpProhibited", "loopback");
    let own = daemon.addr();
    let framed = fetch(&client, &requested, &["GET", &format!("http://{own}/version")]).await;
    assert_denied(&framed, "ErrorCode::DestinationIpProhibited", "the daemon listens there");
    assert_eq!(upstream.connections(), 0);
    // A network rule that names the address allows the name.
    let config = format!("[policy]\nhttp = [\"http://*:{port}\"]\nnetwork = [\"127.0.0.1:{port}\"]\n");
    let daemon = Setup::new(CAPSTAN).config(&config).start();
    let client = daemon.client();
    client.push("fetch", guests::compiled("fetch.p2")).await;
    let requested = json!({"http": [format!("http://*:{port}")], "network": [format!("127.0.0.1:{port}")]});
    let framed = fetch(&client, &requested, &["GET", &format!("http://localhost:{port}/hello")]).await;
    assert_eq!(stdout(&framed), "200\nhello\n", "{}", framed.last);
    assert_eq!(network_usage(&framed)["peers"][0]["host"], "localhost");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let framed = fetch(&client, &http_policy(base.as_str()), &["GET", &format!("{base}/redirect")]).await;
    assert_eq!(stdout(&framed), "302\nelsewhere\n");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn idle_connection_is_used_again_by_the_same_handler_only() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let (_daemon, client) = daemon(std::slice::from_ref(&base), "").await;
    let (policy, url) = (http_policy(base.as_str()), format!("{base}/hello"));
    let framed = fetch(&client, &policy, &["GET", &url, "-n", "5"]).await;
    assert_eq!(stdout(&framed), "200\nhello\n".repeat(5));
    assert_eq!((upstream.connections(), &network_usage(&framed)["peers"][0]["connections"]), (1, &json!(1)));
    // Another run of the handler.
    let framed = fetch(&client, &policy, &["GET", &url]).await;
    assert_eq!((upstream.connections(), &network_usage(&framed)["peers"][0]["connections"]), (1, &json!(0)));
    assert!(network_usage(&framed)["peers"][0]["received_bytes"].as_u64() > Some(20), "{}", framed.last);
    // A run that may not send the request does not get it, and another handler has its own.
    let denied = fetch(&client, &json!({}), &["GET", &url]).await;
    assert_denied(&denied, "ErrorCode::HttpRequestDenied", "scheme, host and port");
    client.push("other", guests::compiled("fetch.p2")).await;
    let call = client.run("other").query("policy", &policy.to_string()).arg("GET").arg(&url);
    assert_eq!(stdout(&call.framed().send().await.frames()), "200\nhello\n");
    assert_eq!((upstream.connections(), upstream.open()), (2, 2));
    // A body that was not read ends the connection.
    let framed = fetch(&client, &policy, &["GET", &format!("{base}/endless"), "-d"]).await;
    assert_eq!(stdout(&framed), "200\n");
    capstan_tests::eventually("the connection to close", async || (upstream.open() == 1).then_some(())).await;
    // A handler that is removed closes its own.
    client.delete("/v1/handlers/other").send().await;
    capstan_tests::eventually("the connection to close", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn command_in_process_sends_allowed_requests() {
    let upstream = Upstream::http().await;
    let base = format!("http://{}", upstream.address);
    let cli = || Cli::new(CAPSTAN).file("fetch.wasm", &guests::compiled("fetch.p2"));
    let url = format!("{base}/hello");
    let ran = cli().args(["run", "--http", &format!("GET {base}"), "fetch.wasm", "GET", &url]).run().await;
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b"200\nhello\n"[..]), "{ran:?}");
    let ran = cli().args(["run", "fetch.wasm", "GET", &url]).run().await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("HttpRequestDenied"), "{ran:?}");
    let wrong = cli().args(["run", "--http", "example.com", "fetch.wasm"]).run().await;
    assert_eq!(wrong.code, Some(125), "{wrong:?}");
    assert!(wrong.stderr.contains("must start with https://"), "{wrong:?}");
}
