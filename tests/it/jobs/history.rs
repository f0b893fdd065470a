//! The job history: lists, filters, pages, and the limit on remembered jobs.

use capstan_tests::{Client, Raw, guests};
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::jobs::durable::until_state;
use crate::{configured, serving};

async fn list(client: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let reply = client.get(&format!("/v1/jobs?{query}")).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let ids = json["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
    (ids.collect(), json["cursor"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn jobs_are_listed_newest_first_with_pages_and_filters() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    client.push("exit", guests::run::EXIT).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let mut hellos = Vec::new();
    for _ in 0..7 {
        hellos.push(submit(&client, &json!({"handler": "hello"})).await);
        wait_for_end(&client, hellos.last().unwrap()).await;
    }
    hellos.reverse();
    let run = client.run("exit").arg("3").send().await;
    let exit = run.header("capstan-job").unwrap().to_owned();
    let sleep = submit(&client, &json!({"handler": "sleep"})).await;
    until_state(&client, &sleep, "running").await;
    for limit in [1, 3, 7, 8] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (ids, next) = list(&client, &format!("handler=hello&limit={limit}{cursor}")).await;
            seen.extend(ids);
            let Some(next) = next else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, hellos, "limit={limit}");
    }
    let all = [&[sleep.clone(), exit.clone()][..], &hellos].concat();
    for (query, expected) in [
        ("", &all[..]),
        ("limit=2", &all[..2]),
        ("state=running", &all[..1]),
        ("state=queued", &[]),
        ("state=done&limit=1", &all[1..2]),
        ("outcome=exited", &all[1..]),
        ("outcome=exited&handler=exit", &all[1..2]),
        ("outcome=trapped", &[]),
        ("handler=none", &[]),
        ("since=1h", &all[..]),
        ("since=2100-01-01T00:00:00Z", &[]),
        ("ended_since=1h", &all[1..]),
        ("ended_since=2100-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(list(&client, query).await.0, expected, "{query}");
    }
    let created = client.get(&format!("/v1/jobs/{exit}")).send().await.json()["created"].clone();
    assert_eq!(list(&client, &format!("since={}", created.as_str().unwrap())).await.0, all[..2]);
}

#[tokio::test]
async fn invalid_job_queries_are_rejected() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for _ in 0..3 {
        submit(&client, &json!({"handler": "hello"})).await;
    }
    let cursor = list(&client, "limit=1").await.1.unwrap();
    let forged = cursor.replace(&cursor[..4], "AAAB");
    for query in [
        "limit=0".to_owned(),
        "limit=1001".to_owned(),
        "limit=-1".to_owned(),
        "limit=many".to_owned(),
        "state=sleeping".to_owned(),
        "outcome=fine".to_owned(),
        "since=soon".to_owned(),
        "since=-5".to_owned(),
        "cursor=".to_owned(),
        "cursor=1".to_owned(),
        format!("cursor={forged}"),
        format!("cursor={cursor}A"),
        format!("cursor={}", &cursor[1..]),
        "colour=red".to_owned(),
        "limit=1&limit=1".to_owned(),
    ] {
        client.get(&format!("/v1/jobs?{query}")).send().await.error(400, "bad_request");
    }
    let (_other, other) = serving("hello", guests::run::HELLO).await;
    other.get(&format!("/v1/jobs?cursor={cursor}")).send().await.error(400, "bad_request");
}

#[tokio::test]
async fn hundred_thousand_jobs_use_bounded_memory() {
    const BATCH: usize = 250;
    // Few slots, so that the number of warm slots does not depend on how busy the machine is.
    let (daemon, client) = configured("[limits]\nruns = 16", "hello", guests::run::HELLO).await;
    let arg = "x".repeat(50);
    let head = format!("POST /v1/handlers/hello/run?arg={arg} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 0\r\n");
    let requests = format!("{head}\r\n").repeat(BATCH - 1) + &format!("{head}Connection: close\r\n\r\n");
    let submit = async |jobs: usize| {
        let mut accepted = 0;
        while accepted < jobs {
            let mut connection = Raw::connect(&daemon).await;
            connection.write(&requests).await;
            let answers = String::from_utf8(connection.read_to_end().await).unwrap();
            let answered = answers.matches("HTTP/1.1 ").count();
            assert_eq!(answered, BATCH, "{answers}");
            accepted += answers.matches("HTTP/1.1 200").count();
        }
    };
    submit(20_000).await;
    let before = daemon.peak_memory();
    submit(80_000).await;
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "80,000 jobs took {} KiB more", grown >> 10);
    let (ids, cursor) = list(&client, "limit=1000").await;
    assert_eq!(ids.len(), 1000);
    if let Some(cursor) = cursor {
        let rest = list(&client, &format!("limit=1000&cursor={cursor}&state=done")).await.0;
        assert!(rest.len() < 1000, "{} more jobs are kept", rest.len());
    }
    let newest = client.get(&format!("/v1/jobs/{}", ids[0])).send().await.json();
    assert_ne!(newest["handler"], Value::Null);
}
