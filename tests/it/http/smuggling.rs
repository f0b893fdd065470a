//! Request smuggling: if the end of a request is ambiguous, the daemon never parses the bytes that follow as another request.

use capstan_tests::{Daemon, Raw, guests};

use crate::{CAPSTAN, oracle, serving};

/// The request that would be processed if the daemon parsed it as a separate one.
const SMUGGLED: &str = "PUT /v1/handlers/smuggled HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n";

/// Sends a request with [`SMUGGLED`] in it or after it, and returns the statuses of all responses.
async fn statuses(daemon: &Daemon, request: &str) -> Vec<u16> {
    let mut connection = Raw::connect(daemon).await;
    connection.write(request).await;
    connection.half_close().await;
    let answer = String::from_utf8_lossy(&connection.read_to_end().await).into_owned();
    let heads = answer.match_indices("HTTP/1.1 ");
    heads.map(|(at, _)| answer[at + 9..at + 12].parse().unwrap()).collect()
}

#[tokio::test]
async fn request_with_ambiguous_length_is_rejected() {
    let (mut daemon, _client) = serving("cat", guests::run::CAT).await;
    let length = SMUGGLED.len();
    for head in [
        // Two lengths, in one header line or in two.
        "Content-Length: 0\r\nContent-Length: {n}\r\n\r\n".to_owned(),
        "Content-Length: {n}\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "Content-Length: 0, {n}\r\n\r\n".to_owned(),
        // Invalid lengths.
        "Content-Length: +0\r\n\r\n".to_owned(),
        "Content-Length: -1\r\n\r\n".to_owned(),
        "Content-Length: 0x0\r\n\r\n".to_owned(),
        "Content-Length: 99999999999999999999\r\n\r\n".to_owned(),
        "Content-Length:\r\n\r\n".to_owned(),
        // Transfer codings that do not end with chunked.
        "Transfer-Encoding: identity\r\n\r\n".to_owned(),
        "Transfer-Encoding: gzip\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        // Header names and lines that parsers interpret differently.
        "Content-Length : 0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        " Content-Length: 0\r\n\r\n".to_owned(),
        "x: y\r\n Content-Length: 0\r\n\r\n".to_owned(),
        "x: y\rContent-Length: 0\r\n\r\n".to_owned(),
        "x: y\r\rContent-Length: 0\r\n\r\n".to_owned(),
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "x\0: y\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let head = head.replace("{n}", &length.to_string());
        let request = format!("POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {{host}}\r\n{head}{SMUGGLED}");
        let statuses = statuses(&daemon, &request).await;
        assert!(statuses.is_empty() || statuses == [400], "{head:?}: {statuses:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn content_length_with_chunked_encoding_closes_the_connection() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    for lengths in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let head = format!("POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {{host}}\r\n{lengths}\r\n\r\n");
        let statuses = statuses(&daemon, &format!("{head}0\r\n\r\n{SMUGGLED}")).await;
        assert!(statuses.len() <= 1, "{lengths}: {statuses:?}");
        client.get("/v1/handlers/smuggled").send().await.error(404, "unknown_handler");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn malformed_chunks_close_the_connection() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    for chunks in [
        "ffffffffffffffff\r\nx",
        "10000000000000000\r\nx",
        "fffffffffffffffffffffffff\r\nx",
        "-1\r\nx",
        "0x0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        " 0\r\n\r\n",
        "\r\n0\r\n\r\n",
    ] {
        let head = "POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n";
        let statuses = statuses(&daemon, &format!("{head}{chunks}{SMUGGLED}")).await;
        // The response to the run may have started or not. There must not be a second one.
        assert!(statuses.len() <= 1, "{chunks:?}: {statuses:?}");
        client.get("/v1/handlers/smuggled").send().await.error(404, "unknown_handler");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn connection_with_an_unread_body_serves_no_further_request() {
    let mut daemon = Daemon::start(CAPSTAN);
    // The body is over the limit and is never read, so everything that follows belongs to it.
    let head = "PUT /v1/handlers/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9999999999\r\n\r\n";
    assert_eq!(statuses(&daemon, &format!("{head}{SMUGGLED}")).await, [413]);
    // An unexpected body that looks like a request.
    let body = SMUGGLED.replace("{host}", &daemon.addr().to_string());
    let head = format!("GET /v1/_ping HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(statuses(&daemon, &format!("{head}{body}")).await, [200]);
    oracle::still_answers(&mut daemon).await;
}
