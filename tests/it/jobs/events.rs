//! The event stream: ranges, filters, formats, and slow or disconnected readers.

use std::time::{Duration, Instant};

use capstan_tests::{Client, Exchange, Reply, eventually, guests};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{state_of, submit, wait_for_end};
use crate::{configured, serving};

/// Parses events, one per line.
fn events(reply: &Reply) -> Vec<Value> {
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn query_events(client: &Client, query: &str) -> Vec<Value> {
    let reply = client.get(&format!("/v1/events?{query}")).send().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")), "{reply:?}");
    events(&reply)
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap_or_else(|| panic!("{event}"))).collect()
}

/// Returns the next event of a live response.
async fn next(exchange: &mut Exchange) -> Value {
    let piece = exchange.piece().await.expect("the response continues");
    serde_json::from_slice(&piece).unwrap()
}

#[tokio::test]
async fn past_events_are_returned_in_order_by_range_and_filter() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let id = submit(&client, &json!({"handler": "hello"})).await;
    wait_for_end(&client, &id).await;
    client.delete("/v1/handlers/hello").send().await;
    let all = query_events(&client, "since=0&until=5").await;
    assert_eq!(kinds(&all), ["handler.put", "job.queue", "job.start", "job.end", "handler.remove"]);
    assert_eq!(all.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((&all[3]["job"], &all[3]["outcome"], &all[3]["exit_code"]), (&json!(id), &json!("exited"), &json!(0)));
    let at = all[3]["at"].as_str().unwrap();
    for (query, expected) in [
        ("since=2&until=4".to_owned(), &[3, 4][..]),
        ("since=1&until=2".to_owned(), &[2]),
        ("since=0&until=1h".to_owned(), &[]),
        ("since=1h&until=0s".to_owned(), &[1, 2, 3, 4, 5]),
        (format!("since={at}&until=0s"), &[4, 5]),
        (format!("since=0&until={at}"), &[1, 2, 3, 4]),
        ("until=0s".to_owned(), &[]),
        ("until=1".to_owned(), &[]),
        ("since=2100-01-01T00:00:00Z&until=0s".to_owned(), &[]),
        ("since=5&until=0s".to_owned(), &[]),
        ("since=0&until=5&filter=event=job.end".to_owned(), &[4]),
        ("since=0&until=5&filter=event%3Djob.end&filter=event=job.start".to_owned(), &[3, 4]),
        ("since=0&until=5&filter=handler=hello&filter=event=handler.put".to_owned(), &[1]),
        (format!("since=0&until=5&filter=job={id}"), &[2, 3, 4]),
        ("since=0&until=5&filter=outcome=exited".to_owned(), &[4]),
        ("since=0&until=5&filter=outcome=trapped".to_owned(), &[]),
        ("since=0&until=5&filter=handler=other".to_owned(), &[]),
    ] {
        let seqs: Vec<_> =
            query_events(&client, &query).await.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, expected, "{query}");
    }
}

#[tokio::test]
async fn live_events_are_sent_as_they_happen() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let mut live = client.get("/v1/events?filter=event=job.end").open().await;
    let mut all = client.get("/v1/events?since=0").open().await;
    assert_eq!(next(&mut all).await["event"], "handler.put");
    for _ in 0..3 {
        let id = submit(&client, &json!({"handler": "hello"})).await;
        assert_eq!(next(&mut live).await["job"], id);
        assert_eq!(next(&mut all).await["event"], "job.queue");
        assert_eq!(next(&mut all).await["event"], "job.start");
        assert_eq!(next(&mut all).await["event"], "job.end");
    }
    let until = client.get("/v1/events?until=13").open().await;
    submit(&client, &json!({"handler": "hello"})).await;
    assert_eq!(
        kinds(&events(&until.finish().await)),
        ["job.queue", "job.start", "job.end"],
        "the stream ends with the event of `until`"
    );
}

#[tokio::test]
async fn server_sent_events_resume_after_last_event_id() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    client.push("again", guests::run::HELLO).await;
    let call = |path: &str| client.get(path).header("accept", "text/event-stream");
    let reply = call("/v1/events?since=0&until=2").send().await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let messages: Vec<_> =
        reply.text().split_terminator("\n\n").map(|text| text.split_once("\ndata: ").unwrap()).collect();
    assert_eq!([messages[0].0, messages[1].0], ["id: 1", "id: 2"]);
    assert_eq!(serde_json::from_str::<Value>(messages[1].1).unwrap()["handler"], "again");
    let resumed = call("/v1/events?since=0&until=2").header("last-event-id", "1").send().await;
    assert!(resumed.text().starts_with("id: 2\n"), "{resumed:?}");
    let of_another_daemon = call("/v1/events?until=2").header("last-event-id", "5000").send().await;
    assert!(of_another_daemon.text().starts_with("id: 1\n"), "{of_another_daemon:?}");
    call("/v1/events").header("last-event-id", "x").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn slow_reader_gets_a_gap() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let stopped = client.get("/v1/events?since=0&until=6001").open().await;
    for _ in 0..3000 {
        client.run("hello").send().await.assert_outcome("exited", 0);
    }
    let mut expected = 1;
    let reply = stopped.finish().await;
    assert!(!reply.cut);
    for event in events(&reply) {
        match event["gap"].as_u64() {
            Some(missed) => expected += missed,
            None => {
                assert_eq!(event["seq"], expected);
                expected += 1;
            }
        }
    }
    assert_eq!(expected, 6002);
    let late = query_events(&client, "since=0&until=6001").await;
    assert!(late[0]["gap"].as_u64().is_some_and(|gap| gap >= 1900), "{}", late[0]);
}

#[tokio::test]
async fn invalid_event_queries_are_rejected() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for query in [
        "since=soon",
        "since=-1",
        "since=1000000",
        "until=never",
        "filter=job.end",
        "filter=evnet=job.end",
        "filter=event=job.ended",
        "filter=job=1",
        "filter=outcome=good",
        "since=1&since=2",
        "tail=1",
        "since=",
        "since=18446744073709551616",
        "since=NaN",
        "since=1e400",
        "since=2026-02-30T00:00:00Z",
        "since=%ff",
        "until=-1",
        "until=9999999y",
        "until=1&until=2",
        "filter=",
        "filter==x",
        "filter=event=",
        "filter=EVENT=job.end",
        "filter=job=zz0f00ff00ff00ff00ff00ff00ff00ff",
    ] {
        client.get(&format!("/v1/events?{query}")).send().await.error(400, "bad_request");
    }
    for (query, named) in [
        ("filter=image=busybox", "event, handler, job and outcome"),
        ("filter=event=start", "job.start"),
        ("since=soon", "10m"),
    ] {
        let reply = client.get(&format!("/v1/events?{query}")).send().await;
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(named), "{query}: {message}");
    }
    for id in ["", "-1", "1.5", "latest"] {
        client.get("/v1/events").header("last-event-id", id).send().await.error(400, "bad_request");
    }
    assert!(query_events(&client, "since=1&until=0&filter=handler=").await.is_empty(), "no handler has this name");
}

#[tokio::test]
async fn events_are_kept_up_to_the_configured_number() {
    let (_daemon, client) = configured("[events]\nkeep = 3", "hello", guests::run::HELLO).await;
    for _ in 0..5 {
        client.run("hello").send().await.assert_outcome("exited", 0);
    }
    // The end of a run is published shortly after its response.
    let kept = eventually("the last event", async || {
        let kept = query_events(&client, "since=0&until=0s").await;
        (kept.last()?["seq"] == 11).then_some(kept)
    })
    .await;
    assert_eq!(kept[0], json!({"gap": 8}));
    assert_eq!(kinds(&kept[1..]), ["job.end", "job.start", "job.end"]);
}

/// Returns the number of event readers.
async fn subscribers(client: &Client) -> u64 {
    let page = client.get("/metrics").send().await;
    let text = page.text();
    let line = text.lines().find_map(|line| line.strip_prefix("capstan_event_subscribers "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test]
async fn disconnect_of_a_reader_is_detected_without_events() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    for reader in [client.clone(), daemon.unix_client()] {
        for call in
            [reader.get("/v1/events"), reader.get("/v1/events?filter=handler=no"), reader.get("/events").http2()]
        {
            let reading = call.header("accept", "text/event-stream").open().await;
            assert_eq!(subscribers(&client).await, 1);
            let left = Instant::now();
            drop(reading);
            eventually("the daemon to detect the disconnect", async || (subscribers(&client).await == 0).then_some(()))
                .await;
            assert!(left.elapsed() < Duration::from_secs(5), "it took {:?}", left.elapsed());
        }
    }
}

#[tokio::test]
async fn readers_that_do_not_read_do_not_delay_others() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let mut stuck = Vec::new();
    for _ in 0..50 {
        stuck.push(client.get("/v1/events?since=0").open().await);
    }
    let mut reader = client.get("/v1/events?filter=event=job.end").open().await;
    for _ in 0..100 {
        let run = client.run("hello").send().await;
        assert_eq!(next(&mut reader).await["job"], run.header("capstan-job").unwrap());
    }
    assert_eq!(subscribers(&client).await, 51);
}

#[tokio::test]
async fn queued_job_publishes_a_queue_event() {
    let (_daemon, client) = configured("[limits]\nruns = 1", "sleeps", guests::limits::SLEEP_FOR_EVER).await;
    let mut stream = client.get("/v1/events").open().await;
    let runs = submit(&client, &json!({"handler": "sleeps"})).await;
    eventually("the first job to run", async || (state_of(&client, &runs).await == "running").then_some(())).await;
    let waits = submit(&client, &json!({"handler": "sleeps"})).await;
    let given_up = submit(&client, &json!({"handler": "sleeps"})).await;
    for id in [&given_up, &runs, &waits] {
        client.post(&format!("/v1/jobs/{id}/cancel")).send().await;
        wait_for_end(&client, id).await;
    }
    let mut reported = Vec::new();
    for _ in 0..8 {
        let event = next(&mut stream).await;
        reported.push((event["job"].as_str().unwrap().to_owned(), event["event"].as_str().unwrap().to_owned()));
    }
    let of = |id: &String| -> Vec<_> {
        reported.iter().filter(|(job, _)| job == id).map(|(_, kind)| kind.as_str()).collect()
    };
    assert_eq!(of(&runs), ["job.queue", "job.start", "job.end"]);
    assert_eq!(of(&waits), ["job.queue", "job.start", "job.end"]);
    assert_eq!(of(&given_up), ["job.queue", "job.end"]);
}

#[tokio::test]
async fn events_are_published_in_order() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let stream = client.get("/v1/events?since=1&until=401").open().await;
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..200 {
        runs.spawn(client.run("hello").send());
    }
    runs.join_all().await;
    let reported = events(&stream.finish().await);
    assert_eq!(
        reported.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        (2..=401).collect::<Vec<_>>()
    );
    let times: Vec<Timestamp> = reported.iter().map(|event| event["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted());
    let mut going = std::collections::HashSet::new();
    for event in &reported {
        let job = event["job"].as_str().unwrap();
        match event["event"].as_str().unwrap() {
            "job.start" => assert!(going.insert(job), "{job} starts twice"),
            _ => assert!(going.remove(job), "{job} ends before it starts"),
        }
    }
    assert!(going.is_empty());
}

#[tokio::test]
async fn event_stream_ends_after_the_last_job_at_shutdown() {
    let (mut daemon, client) = configured("grace = \"60s\"", "spin", guests::limits::LOOP_IN_START).await;
    let id = submit(&client, &json!({"handler": "spin", "policy": {"timeout": "500ms"}})).await;
    eventually("the job to run", async || (state_of(&client, &id).await == "running").then_some(())).await;
    let stream = client.get("/v1/events?since=2").open().await;
    daemon.signal(Signal::TERM);
    let reply = stream.finish().await;
    assert!(!reply.cut, "{reply:?}");
    let reported = events(&reply);
    assert_eq!(kinds(&reported), ["job.start", "daemon.stop", "job.end"]);
    assert_eq!(reported[2]["outcome"], "timed_out");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}
