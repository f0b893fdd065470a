//! Malformed and oversized requests: each gets an error or a closed connection, and the daemon continues to serve others.

use capstan_tests::{Daemon, Raw, eventually, guests};

use crate::{CAPSTAN, oracle, serving};

/// Sends a request, reads to the end of the connection, and returns the status of the response, if there is one.
async fn status_of(daemon: &Daemon, request: &str) -> Option<u16> {
    let mut connection = Raw::connect(daemon).await;
    // The daemon may close the connection before an oversized request is sent completely.
    let request = request.replace("{host}", &daemon.addr().to_string());
    let _ = connection.try_write(request.as_bytes()).await;
    let answer = connection.read_to_end().await;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[tokio::test]
async fn malformed_requests_get_400_or_a_closed_connection() {
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
        let status = status_after_half_close(&daemon, request).await;
        assert!(matches!(status, None | Some(400 | 505)), "{request:?}: {status:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

/// Like [`status_of`], but closes the sending half, because the daemon may wait for the rest of the request.
async fn status_after_half_close(daemon: &Daemon, request: &str) -> Option<u16> {
    let mut connection = Raw::connect(daemon).await;
    connection.write(request).await;
    connection.half_close().await;
    let answer = connection.read_to_end().await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[tokio::test]
async fn request_without_host_is_rejected_on_tcp() {
    let daemon = Daemon::start(CAPSTAN);
    let status = status_of(&daemon, "GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(matches!(status, Some(400 | 403)), "{status:?}");
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_rejected() {
    let mut daemon = Daemon::start(CAPSTAN);
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let status = status_of(&daemon, &format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\n{many}\r\n")).await;
    assert_eq!(status, Some(431), "200 headers");
    let long = "x".repeat(1 << 20);
    let status = status_of(&daemon, &format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\nx-long: {long}\r\n\r\n")).await;
    assert!(matches!(status, None | Some(431)), "a header of 1 MiB: {status:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn args_and_env_of_10_mb_are_rejected() {
    let (mut daemon, _client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let huge = "x".repeat(10 << 20);
    let status = status_of(
        &daemon,
        &format!("POST /handlers/show/run?arg={huge} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 0\r\n\r\n"),
    )
    .await;
    assert!(matches!(status, None | Some(400 | 413 | 414 | 431)), "an argument of 10 MB: {status:?}");
    let head = "POST /handlers/show/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n";
    let status = status_of(&daemon, &format!("{head}Capstan-Env: K={huge}\r\n\r\n")).await;
    assert!(matches!(status, None | Some(400 | 413 | 431)), "a variable of 10 MB: {status:?}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn pipelined_requests_are_served() {
    let daemon = Daemon::start(CAPSTAN);
    let mut connection = Raw::connect(&daemon).await;
    let one = "GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let last = "GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n";
    connection.write(&[one.repeat(99).as_str(), last].concat()).await;
    let answers = String::from_utf8(connection.read_to_end().await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 100);
}

#[tokio::test]
async fn idle_connections_do_not_block_others() {
    let mut daemon = Daemon::start(CAPSTAN);
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHo").await;
        idle.push(connection);
    }
    oracle::still_answers(&mut daemon).await;
    // An unfinished request can still be completed.
    let mut patient = idle.pop().unwrap();
    patient.write("st: {host}\r\n\r\n").await;
    assert_eq!(patient.status().await, 200);
}

#[tokio::test]
async fn unfinished_headers_time_out() {
    let mut daemon = Daemon::start(CAPSTAN);
    let mut connection = Raw::connect(&daemon).await;
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n").await;
    // Ends when the daemon closes the connection; the harness limits the wait.
    let answer = connection.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn hundred_thousand_headers_are_rejected() {
    let mut daemon = Daemon::start(CAPSTAN);
    let before = daemon.peak_memory();
    let many: String = (0..100_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let status = status_of(&daemon, &format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\n{many}\r\n")).await;
    assert!(matches!(status, None | Some(431)), "{status:?}");
    let long = "x".repeat(1 << 20);
    let status = status_of(&daemon, &format!("GET /{long} HTTP/1.1\r\nHost: {{host}}\r\n\r\n")).await;
    assert!(matches!(status, None | Some(400 | 414 | 431)), "a target of 1 MiB: {status:?}");
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 50 << 20, "it took {grown} bytes");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn http_0_9_and_tls_are_rejected_on_the_plain_port() {
    let mut daemon = Daemon::start(CAPSTAN);
    // The first bytes of a TLS handshake as browsers send it, and HTTP/0.9 requests.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
    for request in [&hello[..], b"GET /_ping\r\n", b"GET /_ping\r\n\r\n", b"\r\n\r\n\r\n"] {
        let mut connection = Raw::connect(&daemon).await;
        connection.try_write(request).await.unwrap();
        connection.half_close().await;
        let answer = connection.read_to_end().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{request:?}: {answer:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn ten_thousand_pipelined_requests_are_served() {
    let mut daemon = Daemon::start(CAPSTAN);
    let before = daemon.peak_memory();
    let mut talk = Raw::connect(&daemon).await.read_in_background();
    let one = format!("GET /v1/_ping HTTP/1.1\r\nHost: {}\r\n\r\n", talk.authority());
    talk.write(one.repeat(10_000).as_bytes()).await.unwrap();
    talk.write(one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let answers = String::from_utf8(talk.end().await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 10_001);
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 50 << 20, "it took {grown} bytes");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn garbage_after_a_request_closes_the_connection_after_the_response() {
    let mut daemon = Daemon::start(CAPSTAN);
    for garbage in ["\0\x01\x02garbage\r\n\r\n", "what?\r\n\r\nGET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n"] {
        let mut connection = Raw::connect(&daemon).await;
        connection.write(&format!("GET /v1/_ping HTTP/1.1\r\nHost: {{host}}\r\n\r\n{garbage}")).await;
        connection.half_close().await;
        let answers = String::from_utf8(connection.read_to_end().await).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{answers}");
        assert!(answers.matches("HTTP/1.1 ").count() <= 2, "{answers}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_resets_during_a_response_leaks_nothing() {
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    oracle::still_answers(&mut daemon).await;
    let files = daemon.open_files();
    for _ in 0..10 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("POST /v1/handlers/flood/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        // Closing a connection with unread data resets it.
        drop(connection);
    }
    eventually("all runs to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
    eventually("all connections to be closed", async || (daemon.open_files() <= files + 2).then_some(())).await;
}

#[tokio::test]
async fn unusual_paths_are_not_normalized() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let long = "x".repeat(10_000);
    for (path, statuses) in [
        ("//", &[404][..]),
        ("//_ping", &[404]),
        ("/v1//_ping", &[404]),
        ("/%2e%2e/", &[404]),
        ("/v1/%2e%2e/_ping", &[404]),
        ("/v1/../_ping", &[404]),
        ("/v1/./_ping", &[404]),
        ("/%76%31/_ping", &[404]),
        ("/_ping%00", &[404]),
        ("/handlers/%00", &[404]),
        ("/handlers/%2e%2e", &[400, 404]),
        ("/handlers/..", &[400, 404]),
        ("/handlers/%2e%2e%2f%2e%2e%2fetc%2fpasswd", &[404]),
        ("/handlers/%ff", &[400]),
        ("/handlers/%", &[404]),
        ("/jobs/%00", &[404]),
        ("/jobs/../../etc/passwd", &[404]),
        ("/jobs/%2e%2e%2f", &[404]),
        (&format!("/jobs/{long}"), &[404]),
        (&format!("/handlers/{long}"), &[404]),
        (&format!("/{long}"), &[404]),
    ] {
        let reply = client.get(path).send().await;
        assert!(statuses.contains(&reply.status), "{path:.40}: {reply:?}");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty() && message.len() < 20_000, "{path:.40}: {} bytes", message.len());
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn invalid_or_oversized_json_is_rejected() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let before = daemon.peak_memory();
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let key = |value: &str| format!(r#"{{"handler":"hello","args":{value}}}"#);
    for (body, status, named) in [
        (nested("[", "]"), 400, "the body"),
        (key(&nested("[", "]")), 400, "the body"),
        (nested(r#"{"policy":"#, "}"), 400, "the body"),
        (r#"{"handler":"hello","policy":{"memory":1e400}}"#.to_owned(), 400, "number out of range"),
        (r#"{"handler":"hello","policy":{"timeout":-1e400}}"#.to_owned(), 400, "number out of range"),
        (key(r#"["\ud800"]"#), 400, "the body"),
        (key(r#"["\udc00\ud800"]"#), 400, "the body"),
        (key(r#"["\u12"]"#), 400, "the body"),
        (r#"{"handler":"hello","handler":"other"}"#.to_owned(), 400, "duplicate field `handler`"),
        (r#"{"handler":"hello","policy":{"memory":1,"memory":2}}"#.to_owned(), 400, "duplicate field `memory`"),
        (r#"{"handler":"hello","env":{"A":"1","A":"2"}}"#.to_owned(), 400, "variable A is set twice"),
        (r#"{"handler":"hello","env":{"A":"1","\u0041":"2"}}"#.to_owned(), 400, "variable A is set twice"),
        (r#"{"handler":"hello","colour":1}"#.to_owned(), 400, "unknown field `colour`"),
        (format!(r#"{{"handler":"hello","stdin":"{}"}}"#, "x".repeat(10 << 20)), 413, "4194304"),
        (format!(r#"{{"handler":"{}"}}"#, "x".repeat(1 << 20)), 404, "unknown_handler"),
        ("\u{feff}{}".to_owned(), 400, "the body"),
        (r#"{"handler":NaN}"#.to_owned(), 400, "the body"),
    ] {
        let begin: String = body.chars().take(60).collect();
        // The daemon may close the connection before an oversized body is sent completely.
        let Ok(exchange) = client.post("/v1/jobs").body(body).try_open().await else {
            assert_eq!(status, 413, "{begin}");
            continue;
        };
        let reply = exchange.finish().await;
        assert_eq!(reply.status, status, "{begin}: {reply:?}");
        assert!(reply.text().contains(named.trim_matches('"')), "{begin}: {}", reply.text());
    }
    for bytes in [&b"{\"handler\":\"\xff\"}"[..], b"\xff\xfe{", b"\0"] {
        client.post("/v1/jobs").body(bytes.to_vec()).send().await.error(400, "bad_request");
    }
    assert_eq!(
        client.get("/v1/jobs").send().await.json()["jobs"].as_array().unwrap().len(),
        0,
        "no job may be created"
    );
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 50 << 20, "it took {grown} bytes");
    oracle::still_answers(&mut daemon).await;
}
