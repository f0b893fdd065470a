//! Handlers that break the rules of HTTP, and clients that do.

use capstan_tests::http2::{self, ACK, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, frame};
use capstan_tests::{Raw, eventually};

use super::{configured_web, until_running, web};
use crate::oracle::{self, Oracle};

#[tokio::test]
async fn informational_status_is_no_response() {
    let (_daemon, client) = web().await;
    for status in [100, 101, 103, 199] {
        client.get(&format!("/x/web/status/{status}")).send().await.error(502, "handler_failed");
    }
    for status in [0, 99, 1000, 65535] {
        let reply = client.get(&format!("/x/web/status/{status}")).send().await;
        assert_eq!((reply.status, reply.text()), (200, "the host refuses the status\n"), "{status}");
    }
}

#[tokio::test]
async fn body_of_another_length_than_announced_is_not_delivered_as_whole() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    for length in ["10-5", "5-10", "1-0"] {
        for http2 in [false, true] {
            let call = client.get(&format!("/x/web/length/{length}"));
            // The client may also see the connection end before the head.
            let Ok(response) = (if http2 { call.http2() } else { call }).try_open().await else { continue };
            let reply = response.finish().await;
            assert!(reply.cut || reply.status == 502, "{length}: {reply:?}");
        }
    }
    let jobs = client.get("/jobs?handler=web").send().await.json();
    for job in jobs["jobs"].as_array().unwrap() {
        assert_eq!((&job["outcome"]["kind"], &job["outcome"]["code"]), (&"exited".into(), &1.into()), "{job}");
    }
    let reply = client.get("/x/web/length/5-5").send().await;
    assert_eq!((reply.header("content-length"), reply.text()), (Some("5"), "xxxxx"));
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn million_fields_of_a_guest_are_bounded() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    // The host refuses fields beyond its limit, or ends the run.
    let call = client.get("/x/web/many-fields").try_open().await;
    if let Ok(response) = call {
        assert!(response.status == 502 || response.headers.len() < 100_000, "{} fields", response.headers.len());
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn body_of_single_bytes_arrives_whole() {
    let (_daemon, client) = web().await;
    let reply = client.get("/x/web/bytes/20000").send().await;
    let expected: Vec<u8> = (b'a'..=b'z').cycle().take(20_000).collect();
    assert!(reply.body == expected, "{} bytes", reply.body.len());
    let (call, feed) = client.post("/x/web/size").streaming_body();
    let sending = tokio::spawn(async move {
        for _ in 0..2000 {
            assert!(feed.send("x").await);
        }
    });
    assert_eq!(call.send().await.text(), "2000\n");
    sending.await.unwrap();
}

#[tokio::test]
async fn endless_bodies_end_with_the_deadline() {
    let (mut daemon, client) = configured_web("[policy]\ntimeout = \"2s\"").await;
    let oracle = Oracle::before(&mut daemon).await;
    let mut response = client.get("/x/web/endless").open().await;
    while response.piece().await.is_some() {}
    let (call, feed) = client.post("/x/web/size").streaming_body();
    let sending = tokio::spawn(async move { while feed.send_patiently(vec![b'x'; 4096]).await {} });
    call.send().await.error(504, "handler_timed_out");
    sending.await.unwrap();
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn upgrade_is_refused() {
    let (daemon, client) = web().await;
    for protocol in ["websocket", "h2c", "other"] {
        let reply = client.get("/x/web/hello").header("connection", "Upgrade").header("upgrade", protocol).send().await;
        let message = reply.error(501, "no_upgrade");
        assert!(message.contains("WebSocket"), "{message}");
    }
    drop(daemon);
}

#[tokio::test]
async fn request_with_conflicting_lengths_is_refused() {
    let (mut daemon, client) = web().await;
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1, 2\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let mut raw = Raw::connect(&daemon).await;
        raw.write(&format!("POST /x/web/echo HTTP/1.1\r\nHost: {{host}}\r\n{lengths}\r\n0\r\n\r\n")).await;
        assert_eq!(raw.status().await, 400, "{lengths:?}");
    }
    until_running(&client, 0).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn request_with_a_length_and_chunks_ends_its_connection() {
    let (mut daemon, _client) = web().await;
    let mut raw = Raw::connect(&daemon).await;
    let lengths = "Content-Length: 3\r\nTransfer-Encoding: chunked";
    raw.write(&format!("POST /x/web/size HTTP/1.1\r\nHost: {{host}}\r\n{lengths}\r\n\r\n0\r\n\r\n")).await;
    // Whoever reads the length takes this for a part of the body.
    let _ = raw.try_write(b"GET /x/web/hello HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let responses = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(!responses.contains("hello"), "{responses}");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn request_with_a_million_fields_is_refused() {
    let (mut daemon, _client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    let mut talk = Raw::connect(&daemon).await.read_in_background();
    let head = format!("GET /x/web/hello HTTP/1.1\r\nHost: {}\r\n", talk.authority());
    talk.write(head.as_bytes()).await.unwrap();
    for fields in (0..1_000_000).collect::<Vec<u32>>().chunks(10_000) {
        let lines: String = fields.iter().map(|i| format!("x-{i}: 1\r\n")).collect();
        if talk.write(lines.as_bytes()).await.is_err() {
            break;
        }
    }
    let response = String::from_utf8(talk.end().await).unwrap();
    assert!(response.starts_with("HTTP/1.1 431 ") || response.is_empty(), "{response}");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn rapid_resets_leave_no_job() {
    let (mut daemon, client) = web().await;
    let oracle = Oracle::before(&mut daemon).await;
    let mut talk = Raw::connect(&daemon).await.read_in_background();
    talk.write(&http2::greeting(&[])).await.unwrap();
    talk.write(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    for round in 0..200 {
        let mut burst = Vec::new();
        for number in 0..500 {
            let stream = (round * 500 + number) * 2 + 1;
            let request = http2::request("GET", "/x/web/hold", talk.authority());
            burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &request));
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if talk.write(&burst).await.is_err() || talk.is_closed() {
            break;
        }
    }
    let answer = talk.end().await;
    assert!(http2::goodbyes(&answer).contains(&11), "no ENHANCE_YOUR_CALM in {:?}", http2::goodbyes(&answer));
    until_running(&client, 0).await;
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn slow_body_holds_its_own_job_only() {
    let (mut daemon, client) = web().await;
    let (call, feed) = client.post("/x/web/size").streaming_body();
    let pending = tokio::spawn(call.send());
    assert!(feed.send("a").await);
    until_running(&client, 1).await;
    assert_eq!(client.get("/x/web/hello").send().await.text(), "hello\n");
    assert!(feed.send("b").await);
    drop(feed);
    assert_eq!(pending.await.unwrap().text(), "2\n");
    eventually("the job to end", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}
