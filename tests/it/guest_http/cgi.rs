//! Commands that answer requests as CGI/1.1.

use std::collections::HashMap;

use capstan_tests::{Client, Daemon, Raw, Reply, Setup, eventually, guests};

use crate::handlers::push_with_manifest;
use crate::{CAPSTAN, serving};

/// The guest `cgi`, for preview 1 and for 0.2.
const GUESTS: [&str; 2] = ["cgi.p1", "cgi.p2"];

async fn serving_cgi() -> (Daemon, Client) {
    serving("cgi", &guests::compiled("cgi.p1")).await
}

/// Returns the path at which the guest prints `output` and exits with `code`.
fn raw(code: u8, output: &str) -> String {
    let encoded: String = output.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/x/cgi/raw/{code}?{encoded}")
}

/// Returns the variables that the guest has printed.
fn variables(reply: &Reply) -> HashMap<&str, &str> {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().lines().filter_map(|line| line.split_once('=')).collect()
}

#[tokio::test]
async fn command_answers_and_its_request_is_a_job() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    for guest in GUESTS {
        client.push("cgi", guests::compiled(guest)).await;
        for call in [client.get("/x/cgi/hello"), client.get("/x/cgi/hello").http2()] {
            let reply = call.send().await;
            assert_eq!((reply.status, reply.text()), (200, "hello\n"), "{reply:?}");
            assert_eq!(reply.header("content-type"), Some("text/plain"));
            let job = client.get(&format!("/v1/jobs/{}", reply.header("capstan-job").unwrap())).send().await.json();
            assert_eq!(job["handler"], "cgi", "{job}");
        }
    }
}

#[tokio::test]
async fn request_becomes_variables() {
    let (_daemon, client) = serving_cgi().await;
    let call = client
        .post("/x/cgi/env/a%20b/%C3%BC?x=%20y&z")
        .header("content-type", "text/plain")
        .header("x-a", "1")
        .header("x-a", "2")
        .header("proxy", "http://evil.example")
        .header("authorization", "Basic c2VjcmV0")
        .header("x_b", "3")
        .body("12345");
    let reply = call.send().await;
    let env = variables(&reply);
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/x/cgi"),
        ("PATH_INFO", "/env/a b/ü"),
        ("QUERY_STRING", "x=%20y&z"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "5"),
        ("SERVER_NAME", "127.0.0.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_HOST", "127.0.0.1"),
        ("REQUEST_SCHEME", "http"),
        ("REQUEST_URI", "/x/cgi/env/a%20b/%C3%BC?x=%20y&z"),
        ("HTTP_X_A", "1, 2"),
    ] {
        assert_eq!(env.get(name), Some(&value), "{name} in {env:?}");
    }
    assert!(env["SERVER_SOFTWARE"].starts_with("capstan/"), "{env:?}");
    assert_eq!(env["HTTP_HOST"], format!("127.0.0.1:{}", env["SERVER_PORT"]));
    for name in ["HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_X_B", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"] {
        assert!(!env.contains_key(name), "{name} in {env:?}");
    }
    client.get("/x/cgi/env/%00").send().await.error(400, "bad_request");
    client.get("/x/cgi/env/%FF").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn head_of_the_output_is_that_of_the_response() {
    let (_daemon, client) = serving_cgi().await;
    for (output, status, body) in [
        ("Status: 404 Not Found\nContent-Type: text/plain\n\ngone", 404, "gone"),
        ("Status: 201\r\nX-A: b\r\n\r\nmade", 201, "made"),
        ("Location: https://example.com/\n\n", 302, ""),
        ("Location: /elsewhere\n\n", 302, ""),
        ("Location: /elsewhere\nStatus: 303 See Other\n\n", 303, ""),
        ("Content-Length: 2\n\nab", 200, "ab"),
        ("Status: 204\n\nno body", 204, ""),
        ("Connection: upgrade\nTransfer-Encoding: gzip\nX-A: b\n\nplain", 200, "plain"),
    ] {
        let reply = client.get(&raw(0, output)).send().await;
        assert_eq!((reply.status, reply.text()), (status, body), "{output:?}: {reply:?}");
    }
    let redirect = client.get(&raw(0, "Location: /elsewhere?a=b\nX-A: b\nX-A: c\n\n")).send().await;
    assert_eq!(redirect.header("location"), Some("/elsewhere?a=b"));
    assert_eq!(redirect.headers.get_all("x-a").iter().count(), 2, "{redirect:?}");
}

#[tokio::test]
async fn output_that_is_no_response_is_a_bad_gateway() {
    let (mut daemon, client) = serving_cgi().await;
    for (code, output, error) in [
        (0, "", "no_cgi_output"),
        (0, "<html>\n\n", "bad_cgi_head"),
        (0, "\nbody", "bad_cgi_head"),
        (0, "A: b\n", "bad_cgi_head"),
        (0, "A: b", "bad_cgi_head"),
        (0, "Status: 700\n\n", "bad_cgi_head"),
        (0, "Status: 101 Switching Protocols\n\n", "bad_cgi_head"),
        (0, "Status: ok\n\n", "bad_cgi_head"),
        (0, "Status: 200\nStatus: 404\n\n", "bad_cgi_head"),
        (0, "Content-Length: 1\nContent-Length: 2\n\na", "bad_cgi_head"),
        (0, "Content-Length: 9\n\nshort", "bad_cgi_head"),
        (0, "Content-Length: 1\n\nlong", "bad_cgi_head"),
        (0, "Content-Length: 0\n\nlong", "bad_cgi_head"),
        (0, "A: b\n c\n\n", "bad_cgi_head"),
        (0, "A: \u{1}\n\n", "bad_cgi_head"),
        (3, "", "handler_failed"),
        (3, "A: b\n", "handler_failed"),
        (3, "A: b\n\nbody", "handler_failed"),
    ] {
        let reply = client.get(&raw(code, output)).send().await;
        reply.error(502, error);
        assert!(reply.header("capstan-job").is_some(), "{output:?}: {reply:?}");
    }
    client.get("/x/cgi/fields").send().await.error(502, "cgi_head_too_large");
    client.push("hello", guests::run::HELLO).await;
    client.get("/x/hello/").send().await.error(502, "bad_cgi_head");
    client.push("trap", guests::run::TRAP_UNREACHABLE).await;
    client.get("/x/trap/").send().await.error(502, "handler_failed");
    eventually("the runs to end", async || (client.running().await == 0).then_some(())).await;
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn failure_after_the_head_cuts_the_body() {
    let (_daemon, client) = serving_cgi().await;
    for output in ["A: b\n\npart", "A: b\nContent-Length: 4\n\npart", "A: b\nContent-Length: 5\n\npart"] {
        let (call, body) = client.call("POST", &raw(3, output)).streaming_body();
        let exchange = call.open().await;
        assert_eq!(exchange.status, 200, "{output:?}");
        drop(body);
        assert!(exchange.finish().await.cut, "{output:?}");
    }
    // The run succeeds, but its body is shorter than promised.
    let (call, body) = client.call("POST", &raw(0, "Content-Length: 5\n\npart")).streaming_body();
    let exchange = call.open().await;
    drop(body);
    assert!(exchange.finish().await.cut);
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    for guest in GUESTS {
        client.push("cgi", guests::compiled(guest)).await;
        for is_http2 in [false, true] {
            let call = client.post("/x/cgi/echo");
            let (call, feed) = if is_http2 { call.http2() } else { call }.streaming_body();
            let mut exchange = call.open().await;
            for piece in ["first", "other"] {
                assert!(feed.send(piece).await);
                assert_eq!(exchange.read_at_least(5).await, piece, "{guest}");
            }
            drop(feed);
            let reply = exchange.finish().await;
            assert!(!reply.cut && reply.body.is_empty(), "{reply:?}");
        }
        let large = vec![b'x'; 8 << 20];
        let reply = client.post("/x/cgi/echo").body(large.clone()).send().await;
        assert!(reply.body == large, "{} bytes came back", reply.body.len());
    }
}

#[tokio::test]
async fn client_that_sends_its_whole_body_before_it_reads_gets_the_response() {
    let (daemon, _client) = serving_cgi().await;
    let mut raw = Raw::connect(&daemon).await;
    let size = 4 << 20;
    raw.write(&format!(
        "POST /x/cgi/echo HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{}",
        "x".repeat(size)
    ))
    .await;
    let response = raw.read_to_end().await;
    assert!(response.ends_with(b"\r\n0\r\n\r\n"), "the response was cut after {} bytes", response.len());
    assert!(response.iter().filter(|byte| **byte == b'x').count() >= size);
}

#[tokio::test]
async fn run_over_its_timeout_is_a_gateway_timeout() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push_with_manifest(&client, "cgi", &guests::compiled("cgi.p1"), "[policy]\ntimeout = \"200ms\"").await;
    client.get("/x/cgi/spin").send().await.error(504, "handler_timed_out");
    assert!(client.get("/x/cgi/flood").send_until_cut().await.cut);
}

#[tokio::test]
async fn run_ends_when_its_client_disconnects() {
    let (daemon, client) = serving_cgi().await;
    // Before the head, within the response, and within the request. Before the head, only a unix socket tells a client that has
    // disconnected from one that sends nothing more.
    let mut waiting = Raw::try_connect(daemon.unix_client().address()).await.unwrap();
    waiting.write("GET /x/cgi/spin HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    let mut flooded = client.get("/x/cgi/flood").open().await;
    flooded.read_at_least(1).await;
    let mut sending = Raw::try_connect(client.address()).await.unwrap();
    sending.write("POST /x/cgi/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\nx").await;
    eventually("the runs to start", async || (client.running().await == 3).then_some(())).await;
    drop((waiting, flooded, sending));
    eventually("the runs to end", async || (client.running().await == 0).then_some(())).await;
}

#[tokio::test]
async fn head_and_options_reach_the_command() {
    let (_daemon, client) = serving_cgi().await;
    let reply = client.call("HEAD", "/x/cgi/hello").send().await;
    assert_eq!((reply.status, reply.header("content-length"), reply.body.len()), (200, Some("6"), 0), "{reply:?}");
    let reply = client.call("HEAD", "/x/cgi/hello").http2().send().await;
    assert_eq!((reply.status, reply.header("content-length"), reply.body.len()), (200, Some("6"), 0), "{reply:?}");
    client.call("HEAD", "/x/cgi/env").send().await;
    let reply = client.call("OPTIONS", "/x/cgi/env").send().await;
    assert_eq!(variables(&reply)["REQUEST_METHOD"], "OPTIONS");
}

#[tokio::test]
async fn client_that_expects_100_continue_gets_it() {
    let (daemon, _client) = serving_cgi().await;
    let mut raw = Raw::connect(&daemon).await;
    raw.write(
        "POST /x/cgi/echo HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    raw.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    raw.write("hello").await;
    let response = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.contains("hello"), "{response}");
}

#[tokio::test]
async fn builtins_libraries_and_unknown_handlers_answer_no_requests() {
    let (_daemon, client) = serving("lib", guests::invoke::LIBRARY).await;
    let message = client.get("/x/lib/").send().await.error(501, "library");
    assert!(message.contains("entry point"), "{message}");
    client.get("/x/version/").send().await.error(403, "builtin");
    client.get("/x/unknown/").send().await.error(404, "unknown_handler");
    client.get("/x/").send().await.error(404, "not_found");
    let upgrade = client.get("/x/lib/").header("connection", "upgrade").header("upgrade", "websocket");
    upgrade.send().await.error(501, "no_upgrade");
}

#[tokio::test]
async fn variables_of_the_request_override_those_of_the_manifest() {
    let daemon = Setup::new(CAPSTAN).start();
    let client = daemon.client();
    let manifest = "[env]\nREQUEST_METHOD = \"FORGED\"\nGREETING = \"hi\"";
    push_with_manifest(&client, "cgi", &guests::compiled("cgi.p1"), manifest).await;
    let reply = client.get("/x/cgi/env").send().await;
    let env = variables(&reply);
    assert_eq!((env["REQUEST_METHOD"], env["GREETING"], env["PATH_INFO"]), ("GET", "hi", "/env"));
}
