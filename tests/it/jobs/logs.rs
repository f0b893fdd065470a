//! Job logs: complete, filtered, and followed.

use capstan_tests::frames::{self, Splitter};
use capstan_tests::{Client, Reply, guests};
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::{configured, serving};

async fn logs(client: &Client, id: &str, query: &str) -> Reply {
    let reply = client.get(&format!("/v1/jobs/{id}/logs?{query}")).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

#[tokio::test]
async fn logs_return_both_streams_or_a_selection() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    wait_for_end(&client, &id).await;
    for (query, expected) in [
        ("", "out\nerr\n"),
        ("stdout=1", "out\n"),
        ("stdout=false", "err\n"),
        ("stderr=1&stdout=0", "err\n"),
        ("stdout=true&stderr=true&follow=1", "out\nerr\n"),
        ("tail=1", "err\n"),
        ("tail=1&stderr=0", "out\n"),
        ("tail=0", ""),
        ("tail=all", "out\nerr\n"),
        ("since=1h", "out\nerr\n"),
        ("since=2100-01-01T00:00:00Z", ""),
        ("since=2100-01-01T00:00:00Z&follow=1", ""),
    ] {
        let reply = logs(&client, &id, query).await;
        assert_eq!(reply.text(), expected, "{query}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let stamped = logs(&client, &id, "timestamps=1").await;
    let lines: Vec<_> = stamped.text().lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!([lines[0].1, lines[1].1], ["out", "err"]);
    assert!(lines[0].0 <= lines[1].0 && lines[0].0.len() == 30, "{lines:?}");
    let since = format!("since={}", lines[1].0);
    assert_eq!(logs(&client, &id, &since).await.text(), "err\n");
}

#[tokio::test]
async fn framed_logs_separate_streams_and_end_with_the_outcome() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    wait_for_end(&client, &id).await;
    for follow in ["0", "1"] {
        let path = format!("/v1/jobs/{id}/logs?follow={follow}");
        let framed = client.get(&path).header("accept", frames::MEDIA_TYPE).send().await.frames();
        framed.assert_outcome("exited", 3);
        assert_eq!((framed.stdout.as_slice(), framed.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(framed.last["job"], id);
    }
}

#[tokio::test]
async fn follower_reads_past_and_live_output_until_the_end() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let id = submit(&client, &json!({"handler": "print", "args": ["7"], "stdin_later": true})).await;
    let path = format!("/v1/jobs/{id}/logs?follow=1");
    let mut plain = client.get(&path).open().await;
    assert_eq!(plain.read_at_least(8).await, "started\n");
    let framed = client.get(&path).header("accept", frames::MEDIA_TYPE).open().await;
    let present = client.get(&format!("/v1/jobs/{id}/logs")).header("accept", frames::MEDIA_TYPE).send().await;
    assert_eq!(Splitter::default().push(&present.body), [(1, b"started\n".to_vec())], "the job has no outcome yet");
    client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await;
    let rest = plain.finish().await;
    assert!(!rest.cut);
    assert_eq!(rest.text(), "ended\n");
    let framed = frames::demultiplex(&framed.finish().await.body);
    framed.assert_outcome("exited", 7);
    assert_eq!(framed.stdout, b"started\nended\n");
}

#[tokio::test]
async fn follower_that_stops_reading_gets_a_gap() {
    const WRITTEN: u64 = 64 << 20;
    let (_daemon, client) = configured("[jobs]\noutput = \"1MiB\"", "flood", guests::limits::FLOOD_STDOUT).await;
    let flood = json!({"handler": "flood", "policy": {"stdout": WRITTEN}});
    let id = submit(&client, &flood).await;
    let path = format!("/v1/jobs/{id}/logs");
    let stopped = client.get(&format!("{path}?follow=1")).header("accept", frames::MEDIA_TYPE).open().await;
    let job = wait_for_end(&client, &id).await;
    assert_eq!(job["outcome"], json!({"kind": "output_cap", "stream": "stdout", "limit": WRITTEN}));
    let whole = client.get(&path).header("accept", frames::MEDIA_TYPE).send().await.body;
    let late = stopped.finish().await;
    assert!(!late.cut);
    for body in [whole, late.body] {
        let (mut output, mut missed, mut outcome) = (0, 0, Value::Null);
        for (stream, payload) in Splitter::default().push(&body) {
            match stream {
                1 => output += payload.len() as u64,
                3 => outcome = serde_json::from_slice(&payload).unwrap(),
                4 => missed += serde_json::from_slice::<Value>(&payload).unwrap()["gap"].as_u64().unwrap(),
                other => panic!("a frame of stream {other}"),
            }
        }
        assert_eq!(output + missed, WRITTEN);
        assert!(missed > WRITTEN / 2, "the daemon has kept {output} bytes");
        assert_eq!(outcome["outcome"], job["outcome"]);
    }
    let plain = client.get(&path).send().await;
    assert!(plain.text().starts_with("[capstan: "), "{:?}", &plain.text()[..80]);
    assert!(plain.body.len() < 2 << 20, "{} bytes were kept", plain.body.len());
}

#[tokio::test]
async fn invalid_log_queries_are_rejected() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    for query in [
        "stdout=0&stderr=0",
        "stdout=maybe",
        "tail=-1",
        "tail=some",
        "since=soon",
        "follow=2",
        "timestamps=no",
        "lines=3",
        "tail=1&tail=2",
        "since=%FF",
    ] {
        client.get(&format!("/v1/jobs/{id}/logs?{query}")).send().await.error(400, "bad_request");
    }
}
