//! What clients expect of the API beside the ordinary: HTTP/1.0, HTTP/2 without trailers, large arguments, compressed and marked bodies,
//! errors that explain themselves.

use std::fmt::Write as _;

use capstan_tests::{Daemon, Raw, Setup, guests};
use serde_json::{Value, json};

use crate::{CAPSTAN, serving};

/// The type of a body whose first line is JSON.
const RUN: &str = "application/vnd.capstan.run";

/// Returns the status, the head and the JSON of a response that ends with the connection.
fn parse(answer: &[u8]) -> (u16, String, Value) {
    let text = String::from_utf8_lossy(answer);
    // Without the rest of an earlier response.
    let text = &text[text.find("HTTP/1").unwrap_or_default()..];
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")))
}

async fn exchange(daemon: &Daemon, request: &str) -> Vec<u8> {
    let mut connection = Raw::connect(daemon).await;
    connection.write(request).await;
    connection.half_close().await;
    connection.read_to_end().await
}

#[tokio::test]
async fn failed_run_over_http2_delivers_all_output_and_its_outcome() {
    let (_daemon, client) = serving("bulk", &guests::compiled("probe.p1")).await;
    for _ in 0..12 {
        let reply = client.run_plain("bulk").arg("lines").arg("9000").http2().send().await;
        reply.assert_outcome("exited", 0);
        let output = reply.text().len();
        let reply = client.run_plain("bulk").arg("gush").arg("-").arg("64000").http2().send().await;
        assert!(output > 0 && reply.text().len() == 64000, "{}", reply.text().len());
        let reply = client.run_plain("bulk").arg("fail").arg("64000").http2().send().await;
        assert_eq!((reply.text().len(), reply.trailer("capstan-exit-code")), (64000, Some("3")));
    }
}

#[tokio::test]
async fn arguments_and_variables_of_nearly_a_mebibyte_arrive_in_the_body() {
    let (_daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let args: Vec<String> = ["args".to_owned()].into_iter().chain((0..2000).map(|number| number.to_string())).collect();
    let env: serde_json::Map<_, _> = (0..70).map(|number| (format!("V{number}"), "x".repeat(10_000).into())).collect();
    let line = format!("{}\nthe rest is stdin", json!({"args": args, "env": env}));
    let reply = client.run("probe").header("content-type", RUN).framed().body(line).send().await.frames();
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.stdout.iter().filter(|byte| **byte == b'\n').count(), 2000);
    let line = format!("{}\nabc", json!({"args": ["sum"]}));
    let (call, feed) = client.run("probe").header("content-type", RUN).framed().streaming_body();
    let sending = tokio::spawn(call.send());
    // In pieces of one byte: the line may end anywhere.
    for byte in line.bytes() {
        assert!(feed.send(vec![byte]).await);
    }
    drop(feed);
    let framed = sending.await.unwrap().frames();
    assert!(framed.stdout.starts_with(b"3 "), "{}", String::from_utf8_lossy(&framed.stdout));
}

#[tokio::test]
async fn first_line_of_a_body_is_checked() {
    let (_daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let too_many: Vec<_> = (0..200_000).map(|number| number.to_string()).collect();
    for (line, status, code, expected) in [
        ("{\"arsg\":[]}\n".to_owned(), 400, "bad_request", "args"),
        ("not json\n".to_owned(), 400, "bad_request", "first line"),
        (String::new(), 400, "bad_request", "first line"),
        (json!({"args": ["a\u{0}"]}).to_string(), 400, "invalid_arg", "NUL"),
        (json!({"args": too_many}).to_string(), 413, "too_large", "limit"),
        (format!("{{\"args\":[\"{}\"]}}", "x".repeat(9 << 20)), 413, "too_large", "limit"),
    ] {
        let reply = client.run_plain("probe").header("content-type", RUN).body(line).send_until_cut().await;
        let message = reply.error(status, code);
        assert!(message.contains(expected), "{message}");
    }
    let reply = client.run_plain("probe").header("content-type", RUN).arg("x").body("{}\n").send().await;
    assert!(reply.error(400, "bad_request").contains("query"));
}

#[tokio::test]
async fn job_is_submitted_with_stdin_after_its_first_line() {
    let (_daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let stdin = vec![b'x'; 20 << 20];
    let body = [format!("{}\n", json!({"handler": "probe", "args": ["sum"]})).as_bytes(), &stdin].concat();
    let job = client.post("/v1/jobs").header("content-type", RUN).body(body).send().await.json();
    let id = job["id"].as_str().unwrap();
    let ended = client.post(&format!("/v1/jobs/{id}/wait")).send().await.json();
    assert_eq!(ended["usage"]["stdin_bytes"], stdin.len(), "{ended}");
    let line = json!({"handler": "probe", "stdin": "a"});
    let reply = client.post("/v1/jobs").header("content-type", RUN).body(format!("{line}\nb")).send().await;
    reply.error(400, "bad_request");
}

#[tokio::test]
async fn head_beyond_a_limit_is_answered_with_json_that_names_it() {
    let daemon = Daemon::start(CAPSTAN);
    let mut many = String::new();
    for number in 0..100 {
        write!(many, "x-{number}: 1\r\n").unwrap();
    }
    for (request, status, code, expected) in [
        (format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\n{many}\r\n"), 431, "headers_too_large", "http.headers"),
        (
            format!("GET /_ping HTTP/1.1\r\nHost: {{host}}\r\nx: {}\r\n\r\n", "x".repeat(20_000)),
            431,
            "headers_too_large",
            "http.head",
        ),
        ("GET /_ping HTTP/9.9\r\nHost: {host}\r\n\r\n".to_owned(), 400, "bad_request", "HTTP/1.1"),
        ("GET /_ping\u{1} HTTP/1.1\r\nHost: {host}\r\n\r\n".to_owned(), 400, "bad_request", "HTTP/1.1"),
    ] {
        // Also after a complete exchange on the same connection.
        for before in ["", "GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n"] {
            let mut connection = Raw::connect(&daemon).await;
            if !before.is_empty() {
                connection.write(before).await;
                connection.read_until("OK").await;
            }
            connection.write(&request).await;
            connection.half_close().await;
            let (answered, head, json) = parse(&connection.read_to_end().await);
            assert_eq!((answered, &json["error"]["code"]), (status, &json!(code)), "{request:.60}: {json}");
            assert!(head.contains("content-type: application/json"), "{head}");
            assert!(json["error"]["message"].as_str().unwrap().contains(expected), "{json}");
        }
    }
}

#[tokio::test]
async fn head_beyond_a_limit_over_http2_is_answered_with_json() {
    let daemon = Daemon::start(CAPSTAN);
    let call = daemon.client().get("/v1/_ping").http2().header("x-long", &"x".repeat(20_000));
    assert!(call.send().await.error(431, "headers_too_large").contains("http.head"));
}

#[tokio::test]
async fn run_over_http10_has_its_outcome_in_the_head() {
    let (daemon, _client) = serving("probe", &guests::compiled("probe.p1")).await;
    let request = |query: &str| format!("POST /v1/handlers/probe/run?{query} HTTP/1.0\r\nHost: {{host}}\r\n\r\n");
    let answer = exchange(&daemon, &request("arg=exit&arg=3")).await;
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(text.contains("capstan-exit-code: 3\r\n"), "{text}");
    // It runs longer than the head of a streamed response waits.
    let answer = exchange(&daemon, &request("arg=fail&arg=64000")).await;
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(text.contains("capstan-exit-code: 3\r\n") && text.contains("content-length: 64000\r\n"), "{text:.300}");
    let (status, _, json) = parse(&exchange(&daemon, &request("arg=gush&arg=-&arg=3000000")).await);
    assert_eq!((status, &json["error"]["code"]), (505, &json!("http_version_not_supported")), "{json}");
}

#[tokio::test]
async fn upgrade_with_an_empty_chunked_body_is_accepted() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let order = json!({"handler": "cat", "stdin_later": true}).to_string();
    let job = client.post("/v1/jobs").body(order).send().await.json();
    let mut connection = Raw::connect(&daemon).await;
    let head = format!(
        "POST /v1/jobs/{}/attach HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: capstan.stream\r\n",
        job["id"].as_str().unwrap()
    );
    connection.write(&format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")).await;
    assert_eq!(connection.status().await, 101);
}

#[tokio::test]
async fn times_are_accepted_in_every_form() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let id = crate::jobs::api::submit(&client, &json!({"handler": "hello"})).await;
    crate::jobs::api::wait_for_end(&client, &id).await;
    for (since, count) in [("1000000000", 1), ("9999999999", 0), ("1000000000.5", 1), ("90", 1), ("1h", 1)] {
        let jobs = client.get("/v1/jobs").query("since", since).send().await.json();
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), count, "{since}");
    }
    let events = client.get("/v1/events").query("since", "1000000000").query("until", "0s").send().await;
    assert!(events.text().contains("job.start"), "a number of ten digits is a time, and not an event: {events:?}");
    client.get("/v1/jobs").query("since", "soon").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn job_body_may_have_a_mark_and_line_breaks_but_no_compression() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let body = format!("\u{feff}{}", json!({"handler": "cat", "stdin_base64": "YWJj\r\nZGVm\n"}));
    let job = client.post("/v1/jobs").body(body).send().await.json();
    let id = job["id"].as_str().unwrap();
    client.post(&format!("/v1/jobs/{id}/wait")).send().await;
    // A prefix of the id names the job.
    assert_eq!(client.get(&format!("/v1/jobs/{}/logs", &id[..8])).send().await.text(), "abcdef");
    client.get("/v1/jobs/0000000").send().await.error(404, "unknown_job");
    let marked = format!("\u{feff}{}", json!({"handler": "cat"}));
    assert_eq!(client.post("/v1/policy/check").body(marked).send().await.json()["allowed"], true);
    let reply =
        client.put("/v1/handlers/gz", vec![0x1f, 0x8b]).header("content-encoding", "gzip").send_until_cut().await;
    reply.error(415, "unsupported_encoding");
    let reply =
        client.post("/v1/jobs").header("content-encoding", "gzip").body(vec![0x1f, 0x8b]).send_until_cut().await;
    assert!(reply.error(415, "unsupported_encoding").contains("gzip"));
}

#[tokio::test]
async fn prefix_of_several_job_ids_is_ambiguous() {
    let daemon = Setup::new(CAPSTAN).config("[history]\njobs = 100000").start();
    let client = daemon.client();
    client.push("hello", guests::run::HELLO.to_vec()).await;
    // Of a few hundred ids, two are likely to share their first four digits.
    let mut seen = std::collections::HashMap::new();
    let shared = loop {
        let job = client.post("/v1/jobs").body(json!({"handler": "hello"}).to_string()).send().await.json();
        let prefix = job["id"].as_str().unwrap()[..4].to_owned();
        if seen.insert(prefix.clone(), ()).is_some() {
            break prefix;
        }
    };
    client.get(&format!("/v1/jobs/{shared}")).send().await.error(409, "ambiguous_job");
}
