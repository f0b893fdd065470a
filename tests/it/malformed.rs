//! Requests that are no requests, or too much of one: each is answered or closed, and the daemon goes on.

use capstan_tests::{Daemon, Raw, guests};

use crate::{CAPSTAN, oracle, serving};

/// Writes this and nothing more, reads all there is, and gives the status if there is one.
async fn answer_to(daemon: &Daemon, request: &str) -> Option<u16> {
    let mut connection = Raw::connect(daemon).await;
    // The daemon may close in the middle of what is too long.
    let request = request.replace("{host}", &daemon.addr().to_string());
    let _ = connection.try_write(request.as_bytes()).await;
    let answer = connection.read_to_end().await;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400_or_closed() {
    let mut daemon = Daemon::start(CAPSTAN);
    let tls_hello = "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03";
    for request in [
        "what is this?\r\n\r\n",
        "GET /_ping\r\n\r\n",
        "GET /_ping HTTP/9.9\r\nHost: {host}\r\n\r\n",
        "GET  /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "GET /_ping HTTP/1.1\r\nHost: {host}\r\nbad header\r\n\r\n",
        "GET /_ping HTTP/1.1\r\nHost : {host}\r\n\r\n",
        "GET /_ping HTTP/1.1\r\nHost: {host}\r\n folded: x\r\n\r\n",
        "PUT /handlers/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: many\r\n\r\n",
        "PUT /handlers/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "PUT /handlers/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        tls_hello,
        "\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let status = answer_to_closed(&daemon, request).await;
        assert!(matches!(status, None | Some(400 | 505)), "{request:?}: {status:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

/// As [`answer_to`], with the writing half closed, for what the daemon may take for the beginning of more.
async fn answer_to_closed(daemon: &Daemon, request: &str) -> Option<u16> {
    let mut connection = Raw::connect(daemon).await;
    connection.write(request).await;
    connection.half_close().await;
    let answer = connection.read_to_end().await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[tokio::test]
async fn a_request_without_host_is_not_served_on_tcp() {
    let daemon = Daemon::start(CAPSTAN);
    let status = answer_to(&daemon, "GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(matches!(status, Some(400 | 403)), "{status:?}");
}

#[tokio::test]
async fn headers_have_limits() {
    let mut daemon = Daemon::start(CAPSTAN);
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let status = answer_to(&daemon, &format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\n{many}\r\n")).await;
    assert_eq!(status, Some(431), "200 headers");
    let long = "x".repeat(1 << 20);
    let status = answer_to(&daemon, &format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\nx-long: {long}\r\n\r\n")).await;
    assert!(matches!(status, None | Some(431)), "a header of 1 MiB: {status:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn args_and_env_of_10_mb_are_refused() {
    let (mut daemon, _client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let huge = "x".repeat(10 << 20);
    let status = answer_to(
        &daemon,
        &format!("POST /handlers/show/run?arg={huge} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 0\r\n\r\n"),
    )
    .await;
    assert!(matches!(status, None | Some(400 | 413 | 414 | 431)), "an argument of 10 MB: {status:?}");
    let head = "POST /handlers/show/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n";
    let status = answer_to(&daemon, &format!("{head}Capstan-Env: K={huge}\r\n\r\n")).await;
    assert!(matches!(status, None | Some(400 | 413 | 431)), "a variable of 10 MB: {status:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn requests_may_come_one_behind_the_other() {
    let daemon = Daemon::start(CAPSTAN);
    let mut connection = Raw::connect(&daemon).await;
    let one = "GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let last = "GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n";
    connection.write(&[one.repeat(99).as_str(), last].concat()).await;
    let answers = String::from_utf8(connection.read_to_end().await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 100);
}

#[tokio::test]
async fn an_idle_connection_costs_nobody_else() {
    let mut daemon = Daemon::start(CAPSTAN);
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHo").await;
        idle.push(connection);
    }
    oracle::still_answers(&mut daemon).await;
    // What was begun can still be finished.
    let mut patient = idle.pop().unwrap();
    patient.write("st: {host}\r\n\r\n").await;
    assert_eq!(patient.status().await, 200);
}

#[tokio::test]
async fn headers_that_never_end_are_given_up() {
    let mut daemon = Daemon::start(CAPSTAN);
    let mut connection = Raw::connect(&daemon).await;
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n").await;
    // Ends when the daemon closes; the harness waits no longer than its patience.
    let answer = connection.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    oracle::still_answers(&mut daemon).await;
}
