//! Components that export `wasi:http/handler` of WASI 0.3.

use capstan_tests::{Client, Daemon};
use serde_json::json;

use super::serving;
use crate::oracle::Oracle;

fn path(path: &str) -> String {
    format!("/x/p3{path}")
}

#[tokio::test]
async fn handler_answers_with_the_request_that_it_sees() {
    let (_daemon, client) = serving().await;
    let reply = client.get(&path("/hello")).send().await;
    assert_eq!((reply.status, reply.text()), (200, "hello\n"), "{reply:?}");
    assert!(reply.header("capstan-job").is_some(), "{reply:?}");
    let reply = client.get(&path("/head?a=b%20c")).header("x-a", "1").header("x-a", "2").send().await;
    let text = reply.text();
    assert!(text.starts_with("Method::Get Some(Scheme::Http) ") && text.contains(" /head?a=b%20c\n"), "{text}");
    assert!(text.contains("x-a: 1\nx-a: 2\n"), "{text}");
    assert_eq!(client.get(&path("/nothing")).send().await.status, 404);
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let (_daemon, client) = serving().await;
    for is_http2 in [false, true] {
        let (call, feed) = client.post(&path("/echo")).streaming_body();
        let call = if is_http2 { call.http2() } else { call };
        assert!(feed.send("first ").await);
        let mut exchange = call.open().await;
        // The first piece is back before the second is sent.
        assert_eq!(exchange.read_at_least(6).await, "first ");
        assert!(feed.send("second").await);
        assert_eq!(exchange.read_at_least(6).await, "second");
        drop(feed);
        let reply = exchange.finish().await;
        assert!(!reply.cut && reply.body.is_empty(), "{reply:?}");
    }
}

#[tokio::test]
async fn large_body_is_echoed() {
    let (_daemon, client) = serving().await;
    let body: Vec<u8> = (0..20_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let reply = client.post(&path("/echo")).body(body.clone()).send().await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == body, "the body is echoed unchanged");
}

#[tokio::test]
async fn trailers_pass_through_the_guest() {
    let (daemon, _client) = serving().await;
    let mut connection = capstan_tests::Raw::connect(&daemon).await;
    connection
        .write("POST /x/p3/echo HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nTrailer: x-sum\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    connection.write("4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n").await;
    let answer = String::from_utf8(connection.read_to_end().await).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("\r\nbody\r\n"), "{answer}");
    assert!(answer.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn failed_handler_is_a_bad_gateway() {
    let (mut daemon, client) = serving().await;
    let oracle = Oracle::before(&mut daemon).await;
    for (target, expected) in [("/trap", "unreachable"), ("/error", "on purpose")] {
        let message = client.get(&path(target)).send().await.error(502, "handler_failed");
        assert!(message.contains(expected), "{target}: {message}");
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn failure_after_the_head_never_ends_the_response_as_if_it_were_whole() {
    let (mut daemon, client) = serving().await;
    let oracle = Oracle::before(&mut daemon).await;
    for target in ["/trap-after", "/short"] {
        let reply = client.get(&path(target)).send_until_cut().await;
        assert!(reply.cut || reply.status == 502, "{target}: {reply:?}");
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn handler_that_never_answers_is_a_gateway_timeout() {
    let (mut daemon, client) = limited("timeout = \"1s\"").await;
    let oracle = Oracle::before(&mut daemon).await;
    client.get(&path("/never")).send().await.error(504, "handler_timed_out");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn endless_body_ends_at_the_cap_of_stdout() {
    let (mut daemon, client) = limited("stdout = \"1MiB\"").await;
    let oracle = Oracle::before(&mut daemon).await;
    let reply = client.get(&path("/endless")).send_until_cut().await;
    assert!(reply.cut && reply.body.len() <= 1 << 20, "{} bytes", reply.body.len());
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn client_that_leaves_ends_its_run() {
    let (mut daemon, client) = serving().await;
    let oracle = Oracle::before(&mut daemon).await;
    let mut exchange = client.get(&path("/endless")).open().await;
    exchange.read_at_least(1).await;
    drop(exchange);
    // No run is in progress, and nothing is kept.
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn outbound_request_is_denied() {
    let (_daemon, client) = serving().await;
    let reply = client.get(&path("/fetch")).send().await;
    assert!(reply.text().contains("HttpRequestDenied"), "{reply:?}");
}

#[tokio::test]
async fn stdout_of_a_handler_is_the_stderr_of_its_job() {
    let (_daemon, client) = serving().await;
    let reply = client.get(&path("/print")).send().await;
    assert_eq!(reply.text(), "ok\n");
    let id = reply.header("capstan-job").unwrap();
    let job = client.get(&format!("/v1/jobs/{id}")).send().await.json();
    assert_eq!(job["usage"]["stderr_bytes"], "to stdout\n".len(), "{job}");
    assert_eq!(job["usage"]["stdout_bytes"], json!("ok\n".len()), "{job}");
}

/// Starts a daemon with the guest and another limit.
async fn limited(limit: &str) -> (Daemon, Client) {
    let toml = format!("[policy]\nfeatures = [\"component-async\", \"p3\"]\n{limit}");
    crate::configured(&toml, "p3", &capstan_tests::guests::compiled("p3")).await
}
