//! Numbers of events go on after a restart.

use capstan_tests::{Client, Daemon, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::serving;

async fn events(client: &Client, query: &str) -> Vec<Value> {
    let reply = client.get(&format!("/v1/events?{query}")).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_else(|| panic!("{event}"))
}

async fn run_hello(client: &Client) -> String {
    let id = submit(client, &json!({"handler": "hello"})).await;
    wait_for_end(client, &id).await;
    id
}

async fn stop_and_start(mut daemon: Daemon) -> (Daemon, Client) {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    let daemon = daemon.setup().start();
    let client = daemon.client();
    (daemon, client)
}

#[tokio::test]
async fn numbers_go_on_without_a_gap_after_an_orderly_stop() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    run_hello(&client).await;
    assert_eq!(events(&client, "since=0&until=0s").await.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let (daemon, client) = stop_and_start(daemon).await;
    run_hello(&client).await;
    // Number 5 was `daemon.stop`.
    let since_the_stop = events(&client, "since=5&until=0s").await;
    assert_eq!(since_the_stop.iter().map(number).collect::<Vec<_>>(), [6, 7, 8], "nothing is missing");
    let earlier = events(&client, "since=2&until=0s").await;
    assert_eq!((&earlier[0]["gap"], earlier[0]["restarted"].is_string()), (&json!(3), true), "{earlier:?}");
    assert_eq!(earlier[1..], since_the_stop);
    assert_eq!(events(&client, "since=1h&until=0s").await[0]["gap"], Value::Null, "how many there were is not known");
    // Two restarts ago, nobody knows how many events are missing.
    let (_daemon, client) = stop_and_start(daemon).await;
    let reply = events(&client, "since=2&until=0s").await;
    assert_eq!((reply.len(), &reply[0]["gap"]), (1, &Value::Null), "{reply:?}");
    client.get("/v1/events?since=10").send().await.error(400, "bad_request");
}

#[tokio::test]
async fn numbers_increase_over_a_crash_and_a_client_that_resumes_learns_of_it() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    let mut last = 0;
    let mut running = (daemon, client);
    for _ in 0..3 {
        let client = &running.1;
        run_hello(client).await;
        let kept: Vec<_> = events(client, &format!("since={last}&until=0s")).await;
        if last > 0 {
            assert_eq!((&kept[0]["gap"], kept[0]["restarted"].is_string()), (&Value::Null, true), "{kept:?}");
        }
        let numbers: Vec<_> = kept.iter().filter(|event| event["seq"].is_u64()).map(number).collect();
        assert!(numbers[0] > last && numbers.is_sorted(), "{numbers:?} after {last}");
        // A browser resumes in the same way.
        let call = client.get("/v1/events?until=0s").header("accept", "text/event-stream");
        let resumed = call.header("last-event-id", &numbers[0].to_string()).send().await;
        assert!(resumed.text().starts_with(&format!("id: {}\n", numbers[1])), "{resumed:?}");
        last = *numbers.last().unwrap();
        running = running.0.kill_and_restart().await;
    }
}

#[tokio::test]
async fn what_ended_before_a_crash_is_found_by_the_time_of_the_last_event() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    let seen = run_hello(&client).await;
    let last = events(&client, &format!("since=0&until=0s&filter=event=job.end&filter=job={seen}")).await;
    let at = last[0]["at"].as_str().unwrap().to_owned();
    let missed = run_hello(&client).await;
    let (_daemon, client) = daemon.kill_and_restart().await;
    let jobs = client.get(&format!("/v1/jobs?ended_since={at}")).send().await.json();
    let ids: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&missed.as_str()), "{jobs}");
    client.get("/v1/jobs?ended_since=soon").send().await.error(400, "bad_request");
    let none = client.get("/v1/jobs?ended_since=2100-01-01T00:00:00Z").send().await.json();
    assert_eq!(none["jobs"], json!([]));
}

#[tokio::test]
async fn stream_names_the_event_after_which_it_starts() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    run_hello(&client).await;
    for (query, after) in [("", "4"), ("?since=2", "2"), ("?since=1h", "0")] {
        let stream = client.get(&format!("/v1/events{query}")).open().await;
        assert_eq!(stream.header("capstan-events-after"), Some(after), "{query}");
    }
}
