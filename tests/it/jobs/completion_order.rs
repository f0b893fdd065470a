//! The end of a job is visible after everything is counted, recorded and freed, in whatever way a client sees it.

use capstan_tests::frames::Splitter;
use capstan_tests::{Address, Client, Exchange, Raw, eventually, guests};
use serde_json::{Value, json};

use crate::serving;

/// How often each way is tried: a daemon that shows the end too early is ahead by microseconds.
const ROUNDS: u64 = 8;

/// What the end of a job is compared with: how many there have been.
struct Jobs<'a> {
    client: &'a Client,
    ended: u64,
}

impl Jobs<'_> {
    /// The client has just seen the end of `job`: that is everywhere.
    async fn saw_end_of(&mut self, job: &str, how: &str) {
        self.ended += 1;
        // What is most likely to be late is asked for first, and each time something else.
        for check in 0..4 {
            match (check + self.ended) % 4 {
                0 => {
                    let totals = self.client.get("/v1/handlers/cat").send().await.json()["totals"]["jobs"].clone();
                    assert_eq!(totals, json!(self.ended), "totals after {how}");
                }
                1 => {
                    let metrics = self.client.get("/metrics").send().await.text().to_owned();
                    let runs = |line: &&str| line.starts_with("capstan_runs_total{");
                    let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
                    let runs: u64 = metrics.lines().filter(runs).map(count).sum();
                    assert_eq!(runs, self.ended, "metrics after {how}: {metrics}");
                    let gauge = |name: &str| {
                        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                        line.unwrap_or_else(|| panic!("no {name}")).parse::<u64>().unwrap()
                    };
                    assert_eq!(gauge("capstan_runs_running"), 0, "after {how}");
                    assert_eq!(gauge("capstan_runs_free"), gauge("capstan_runs_limit"), "after {how}");
                }
                2 => {
                    let told = self.client.get(&format!("/v1/jobs/{job}")).send().await.json();
                    assert_eq!(told["state"], "done", "after {how}: {told}");
                    assert_eq!(self.client.running().await, 0, "after {how}");
                }
                _ => {
                    let events = self.client.get("/v1/events?since=0&until=0s").send().await;
                    let is_end = |event: &Value| event["event"] == "job.end" && event["job"] == job;
                    assert_eq!(lines(events.text()).filter(is_end).count(), 1, "events after {how}");
                }
            }
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// A job that reads stdin until it is stopped.
async fn submitted(client: &Client) -> String {
    let asked = json!({"handler": "cat", "stdin_later": true}).to_string();
    client.post("/v1/jobs").body(asked).send().await.json()["id"].as_str().unwrap().to_owned()
}

async fn kill(client: &Client, job: &str) {
    assert_eq!(client.post(&format!("/v1/jobs/{job}/kill")).send().await.status, 202);
}

/// Reads frames until one of them is the outcome.
async fn outcome_frame(exchange: &mut Exchange) {
    let mut splitter = Splitter::default();
    while let Some(piece) = exchange.piece().await {
        if splitter.push(&piece).iter().any(|(stream, _)| *stream == 3) {
            return;
        }
    }
    panic!("no frame has the outcome");
}

#[tokio::test]
async fn end_of_a_run_in_every_kind_of_response_comes_after_it_is_counted() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let mut jobs = Jobs { client: &client, ended: 0 };
    for _ in 0..ROUNDS {
        let reply = client.run("cat").body("short").send().await;
        reply.assert_outcome("exited", 0);
        jobs.saw_end_of(reply.header("capstan-job").unwrap(), "an outcome in the head").await;

        let (call, _open) = client.run("cat").query("timeout", "20ms").streaming_body();
        let reply = call.send().await;
        reply.assert_outcome("timed_out", 124);
        jobs.saw_end_of(reply.header("capstan-job").unwrap(), "an outcome in trailers").await;

        let (call, _open) = client.run("cat").query("timeout", "20ms").http2().streaming_body();
        let reply = call.send().await;
        reply.assert_outcome("timed_out", 124);
        jobs.saw_end_of(reply.header("capstan-job").unwrap(), "an outcome in trailers of HTTP/2").await;

        let (call, _open) = client.run_plain("cat").query("timeout", "20ms").streaming_body();
        let reply = call.send_until_cut().await;
        // On a busy machine the run may end before the head is sent.
        assert!(reply.cut || reply.header("capstan-outcome") == Some("timed_out"), "{reply:?}");
        jobs.saw_end_of(reply.header("capstan-job").unwrap(), "an answer that was cut").await;

        let (call, feed) = client.run_plain("cat").streaming_body();
        assert!(feed.send("x").await);
        let exchange = call.open().await;
        let job = exchange.header("capstan-job").unwrap().to_owned();
        drop(feed);
        assert_eq!(exchange.finish().await.text(), "x");
        jobs.saw_end_of(&job, "the end of a body").await;

        let (call, _open) = client.run("cat").framed().query("timeout", "20ms").streaming_body();
        let mut exchange = call.open().await;
        let job = exchange.header("capstan-job").unwrap().to_owned();
        outcome_frame(&mut exchange).await;
        jobs.saw_end_of(&job, "the frame of the outcome").await;
    }
}

#[tokio::test]
async fn end_of_a_job_that_others_watch_comes_after_it_is_counted() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let mut jobs = Jobs { client: &client, ended: 0 };
    for _ in 0..ROUNDS {
        let job = submitted(&client).await;
        let waits = client.post(&format!("/v1/jobs/{job}/wait")).open().await;
        kill(&client, &job).await;
        assert_eq!(waits.finish().await.json()["state"], "done");
        jobs.saw_end_of(&job, "wait").await;

        let job = submitted(&client).await;
        kill(&client, &job).await;
        eventually("the end in GET", async || {
            let told = client.get(&format!("/v1/jobs/{job}")).send().await.json();
            (told["state"] == "done").then_some(())
        })
        .await;
        jobs.saw_end_of(&job, "GET /jobs/{id}").await;

        let job = submitted(&client).await;
        let mut events = client.get("/v1/events?since=0").open().await;
        kill(&client, &job).await;
        let mut text = String::new();
        loop {
            let piece = events.piece().await.expect("events go on");
            text.push_str(std::str::from_utf8(&piece).unwrap());
            // A piece may end in the middle of a line.
            let rest = text.split_off(text.rfind('\n').map_or(0, |end| end + 1));
            let whole = std::mem::replace(&mut text, rest);
            if lines(&whole).any(|event| event["event"] == "job.end" && event["job"] == job.as_str()) {
                break;
            }
        }
        jobs.saw_end_of(&job, "an event").await;

        let job = submitted(&client).await;
        let mut attached = Raw::try_connect(&Address::Tcp(daemon.addr())).await.unwrap();
        let head = format!(
            "POST /v1/jobs/{job}/attach HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: capstan.stream\r\n\r\n"
        );
        attached.write(&head).await;
        assert!(attached.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        kill(&client, &job).await;
        while attached.frame().await.0 != 3 {}
        jobs.saw_end_of(&job, "attach").await;

        let job = submitted(&client).await;
        let logs = client.get(&format!("/v1/jobs/{job}/logs?follow=1"));
        let mut follows = logs.header("accept", capstan_tests::frames::MEDIA_TYPE).open().await;
        kill(&client, &job).await;
        outcome_frame(&mut follows).await;
        jobs.saw_end_of(&job, "logs that are followed").await;
    }
}
