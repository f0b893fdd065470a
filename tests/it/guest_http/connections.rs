//! The connection of a request: versions, how a body is framed, and clients that go away.

use capstan_tests::{Address, Daemon, Raw};

use super::{until_running, web};
use crate::oracle::Oracle;

/// Sends a request of these bytes, and returns everything that the daemon sends until it closes the connection.
async fn exchange(daemon: &Daemon, request: &str) -> String {
    let mut raw = Raw::connect(daemon).await;
    raw.write(request).await;
    String::from_utf8(raw.read_to_end().await).unwrap()
}

#[tokio::test]
async fn body_may_have_a_length_or_come_in_chunks() {
    let (daemon, _client) = web().await;
    let head = "POST /x/web/size HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n";
    for body in ["Content-Length: 5\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"]
    {
        let response = exchange(&daemon, &format!("{head}{body}")).await;
        assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("5\n"), "{response}");
    }
}

#[tokio::test]
async fn client_of_http_1_0_gets_a_body_up_to_the_end_of_the_connection() {
    let (daemon, _client) = web().await;
    for path in ["hello", "trailers"] {
        let response = exchange(&daemon, &format!("GET /x/web/{path} HTTP/1.0\r\nHost: {{host}}\r\n\r\n")).await;
        assert!(response.starts_with("HTTP/1.0 200 ") || response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(!response.to_lowercase().contains("transfer-encoding"), "{response}");
        assert!(response.ends_with(if path == "hello" { "\r\n\r\nhello\n" } else { "\r\n\r\nbody" }), "{response}");
    }
}

#[tokio::test]
async fn client_that_expects_100_continue_gets_it_before_it_sends_the_body() {
    let (daemon, _client) = web().await;
    let mut raw = Raw::connect(&daemon).await;
    raw.write("POST /x/web/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(raw.status().await, 100);
    raw.write("body").await;
    let response = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("body"), "{response}");
}

#[tokio::test]
async fn request_may_have_an_absolute_uri() {
    let (daemon, _client) = web().await;
    let request = "GET http://{host}/x/web/hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n";
    let response = exchange(&daemon, request).await;
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("hello\n"), "{response}");
}

#[tokio::test]
async fn connection_serves_the_next_request_after_a_body_that_nobody_read() {
    let (daemon, _client) = web().await;
    let mut raw = Raw::connect(&daemon).await;
    raw.write("POST /x/web/hello HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbody").await;
    raw.write("GET /x/web/hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").await;
    let responses = String::from_utf8(raw.read_to_end().await).unwrap();
    // The daemon may also close the connection after the first response, but never takes the body for a request.
    assert!(responses.starts_with("HTTP/1.1 200 "), "{responses}");
    assert!(!responses.contains(" 400 "), "{responses}");
}

#[tokio::test]
async fn client_that_goes_away_cancels_the_job_at_every_stage() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    let unfinished = "POST /x/web/size HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\nhalf";
    let chunked = "POST /x/web/echo HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let waiting = "GET /x/web/hold HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let (tcp, unix) = (Address::Tcp(daemon.addr()), Address::Unix(daemon.unix()));
    // Before the head, TCP does not tell whether a client that sends nothing more still reads.
    for (address, request) in [(&unix, waiting), (&unix, unfinished), (&tcp, unfinished), (&tcp, chunked)] {
        let mut raw = Raw::try_connect(address).await.unwrap();
        raw.write(request).await;
        until_running(&client, 1).await;
        drop(raw);
        until_running(&client, 0).await;
    }
    for path in ["endless", "hold-after"] {
        for http2 in [false, true] {
            let call = client.get(&format!("/x/web/{path}"));
            let mut response = if http2 { call.http2() } else { call }.open().await;
            assert!(response.read_at_least(4).await.len() >= 4);
            let id = response.header("capstan-job").unwrap().to_owned();
            drop(response);
            until_running(&client, 0).await;
            let job = client.get(&format!("/jobs/{id}")).send().await.json();
            // A guest that writes may learn of it first, and end by itself.
            let kind = job["outcome"]["kind"].as_str().unwrap();
            assert!(kind == "cancelled" || path == "endless" && kind == "exited", "{job}");
        }
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn client_that_goes_away_before_the_head_ends_starts_no_job() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    let total = client.get("/info").send().await.json()["jobs"]["total"].clone();
    let mut raw = Raw::connect(&daemon).await;
    raw.write("GET /x/web/hello HTTP/1.1\r\nHost: {host}\r\n").await;
    drop(raw);
    assert_eq!(client.get("/info").send().await.json()["jobs"]["total"], total);
    oracle.after(&mut daemon).await;
}
