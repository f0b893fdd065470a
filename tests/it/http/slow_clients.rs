//! Slow clients: each hits a timeout that the operator sets, and none delays other clients.

use std::time::{Duration, Instant};

use capstan_tests::{Daemon, Raw, Setup, eventually, guests, modules};

use crate::{CAPSTAN, configured, oracle};

#[tokio::test]
async fn slowly_sent_head_gets_408() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nhead_timeout = \"2s\"\n").start();
    let mut talk = Raw::connect(&daemon).await.read_in_background();
    talk.write(b"GET /v1/_ping HTTP/1.1\r\n").await.unwrap();
    let mut drip = b"x-drip: 1\r\n".iter().cycle();
    eventually("the daemon to close the connection", async || {
        let written = talk.write(&[*drip.next().unwrap()]).await;
        (written.is_err() || talk.is_closed()).then_some(())
    })
    .await;
    // The response may be lost if bytes are still in flight when the daemon closes the connection.
    let answer = String::from_utf8(talk.end().await).unwrap();
    assert!(answer.is_empty() || (answer.starts_with("HTTP/1.1 408 ") && answer.contains("too_slow")), "{answer}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn incomplete_head_gets_408() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nhead_timeout = \"1s\"\n").start();
    let mut connection = Raw::connect(&daemon).await;
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\nx-").await;
    let answer = String::from_utf8(connection.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"too_slow\""), "{answer}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn five_hundred_incomplete_heads_all_time_out() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nhead_timeout = \"3s\"\nconnections = 300\n").start();
    let files = daemon.open_files();
    let mut silent = Vec::new();
    for _ in 0..500 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHo").await;
        silent.push(connection);
    }
    // More connections than are served at a time: a new request waits until the first ones time out.
    oracle::still_answers(&mut daemon).await;
    for mut connection in silent {
        connection.read_to_end().await;
    }
    eventually("all connections to be closed", async || (daemon.open_files() <= files + 2).then_some(())).await;
}

#[tokio::test]
async fn keep_alive_connection_has_its_own_idle_timeout() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nhead_timeout = \"60s\"\nidle_timeout = \"1s\"\n").start();
    let mut connection = Raw::connect(&daemon).await;
    for _ in 0..2 {
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        connection.read_exact(3).await.unwrap();
    }
    let began = Instant::now();
    assert_eq!(connection.read_to_end().await, b"", "the connection must close without a response");
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    oracle::still_answers(&mut daemon).await;
}

/// Sends a body byte by byte and returns the response.
async fn response_to_slow_body(daemon: &Daemon, request: &str) -> String {
    let mut connection = Raw::connect(daemon).await;
    connection.write(request).await;
    let mut talk = connection.read_in_background();
    eventually("the daemon to close the connection", async || {
        (talk.write(b" ").await.is_err() || talk.is_closed()).then_some(())
    })
    .await;
    // The heads of frames are not text.
    String::from_utf8_lossy(&talk.end().await).into_owned()
}

#[tokio::test]
async fn slowly_sent_body_gets_408() {
    // A byte every 2 ms is below the minimum rate, although no single pause is too long.
    let config = "[http]\nbody_timeout = \"1s\"\nbody_rate = \"1MiB\"\n";
    let mut daemon = Setup::new(CAPSTAN).config(config).start();
    for request in ["PUT /v1/handlers/drip", "POST /v1/jobs"] {
        let head = format!("{request} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 4000000\r\n\r\n");
        let answer = response_to_slow_body(&daemon, &head).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"too_slow\""), "{request}: {answer}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn stalled_body_gets_408() {
    let mut daemon = Setup::new(CAPSTAN).config("[http]\nbody_timeout = \"1s\"\n").start();
    for request in ["PUT /v1/handlers/stop", "POST /v1/jobs"] {
        let mut connection = Raw::connect(&daemon).await;
        connection.write(&format!("{request} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 400000\r\n\r\n{{")).await;
        let answer = String::from_utf8(connection.read_to_end().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"too_slow\""), "{request}: {answer}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn slowly_sent_stdin_is_limited_only_by_the_run_timeout() {
    let (mut daemon, client) = configured("[http]\nbody_timeout = \"1s\"\n", "cat", guests::run::CAT).await;
    let head = "POST /v1/handlers/cat/run?timeout=3s HTTP/1.1\r\nHost: {host}\r\n\
                Accept: application/vnd.capstan.stream\r\nContent-Length: 4000000\r\n\r\n";
    let answer = response_to_slow_body(&daemon, head).await;
    assert!(answer.contains("\"timed_out\""), "{answer}");
    assert_eq!(client.running().await, 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_does_not_read_a_response_is_disconnected() {
    // More than the send and receive buffers of the kernel.
    let size = 32 << 20;
    for is_tcp in [true, false] {
        let setup = Setup::new(CAPSTAN).config("[http]\nanswer_timeout = \"1s\"\n").env("CAPSTAN_LOG", "capstan=debug");
        let mut daemon = setup.start();
        let client = if is_tcp { daemon.client() } else { daemon.unix_client() };
        client.push("large", modules::padded(guests::run::HELLO, size)).await;
        let mut connection = Raw::try_connect(client.address()).await.unwrap();
        connection.write("GET /v1/handlers/large/wasm HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        oracle::still_answers(&mut daemon).await;
        daemon.until_logged(&["a client took too long"]).await;
        let came = connection.read_to_end().await.len();
        assert!(came < size, "{came} bytes arrived");
    }
}

#[tokio::test]
async fn follower_that_does_not_read_is_disconnected() {
    let config = "[http]\nstream_timeout = \"1s\"\n";
    let mut daemon = Setup::new(CAPSTAN).config(config).env("CAPSTAN_LOG", "capstan=debug").start();
    let client = daemon.client();
    client.push("flood", guests::limits::FLOOD_STDOUT).await;
    let reply = client.post("/v1/jobs").body(r#"{"handler":"flood","durable":false}"#).send().await;
    let job = reply.json()["id"].as_str().unwrap().to_owned();
    let mut follower = Raw::connect(&daemon).await;
    follower.write(&format!("GET /v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nHost: {{host}}\r\n\r\n")).await;
    assert_eq!(follower.status().await, 200);
    let with_follower = daemon.open_files();
    daemon.until_logged(&["a client took too long"]).await;
    eventually("the follower to be disconnected", async || (daemon.open_files() < with_follower).then_some(())).await;
    // The job continues or has reached its output limit: the follower did not block it.
    client.post(&format!("/v1/jobs/{job}/kill")).send().await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn connections_per_peer_are_limited_over_tcp() {
    let daemon = Setup::new(CAPSTAN).config("[http]\nconnections_per_peer = 3\n").start();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        kept.push(connection);
    }
    let mut fourth = Raw::connect(&daemon).await;
    let reported = String::from_utf8(fourth.read_to_end().await).unwrap();
    assert!(reported.starts_with("HTTP/1.1 429 ") && reported.contains("\"busy\""), "{reported}");
    assert_eq!(
        daemon.unix_client().get("/v1/_ping").send().await.status,
        200,
        "the limit does not apply to a unix socket"
    );
    drop(kept.pop());
    eventually("the slot to be free", async || {
        let mut again = Raw::connect(&daemon).await;
        let ask = format!("GET /v1/_ping HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", daemon.addr());
        // A rejected client may get the response before it has sent its request.
        let _ = again.try_write(ask.as_bytes()).await;
        again.read_to_end().await.starts_with(b"HTTP/1.1 200 ").then_some(())
    })
    .await;
}
