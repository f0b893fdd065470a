//! Stopping: what runs may finish within the grace time, what is new is refused, and then it is over.

use std::time::{Duration, Instant};

use capstan_tests::{Client, Daemon, Exchange, Feed, Raw, Setup, eventually, frames, guests};
use rustix::process::Signal;

use crate::{CAPSTAN, serving};

/// An end that was asked for comes within this, on a busy machine too.
const SOON: Duration = Duration::from_secs(5);

async fn stopping(grace: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(&format!("grace = \"{grace}\"")).start();
    let client = daemon.client();
    client.push("print", guests::run::PRINT_THEN_EXIT).await;
    (daemon, client)
}

/// A run that waits for the end of its input.
async fn begun(client: &Client) -> (Exchange, Feed) {
    let (call, feed) = client.run("print").framed().fed();
    let mut exchange = call.open().await;
    assert!(!exchange.at_least(frames_of_started()).await.is_empty());
    (exchange, feed)
}

fn frames_of_started() -> usize {
    8 + "started\n".len()
}

/// Waits until nobody is accepted, or whoever is gets 503.
async fn refusing(daemon: &Daemon) {
    let client = daemon.client();
    eventually("new work to be refused", async || {
        let Ok(exchange) = client.run("print").framed().try_open().await else { return Some(()) };
        let reply = exchange.finish().await;
        if reply.status == 200 {
            return None;
        }
        reply.error(503, "draining");
        assert!(reply.header("retry-after").is_some(), "503 has Retry-After: {reply:?}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, _client) = serving("hello", guests::run::HELLO).await;
        let began = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{signal:?}");
        assert!(began.elapsed() < SOON, "{signal:?}: it took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_a_daemon() {
    let (mut daemon, _client) = serving("hello", guests::run::HELLO).await;
    let mut connection = Raw::connect(&daemon).await;
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    assert_eq!(connection.status().await, 200);
    let mut silent = Raw::connect(&daemon).await;
    silent.write("GET /v1/").await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < 2 * SOON, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_runs_may_finish_and_what_is_new_is_refused() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, client) = stopping("60s").await;
        let (exchange, feed) = begun(&client).await;
        daemon.signal(signal);
        refusing(&daemon).await;
        assert!(daemon.is_alive(), "it must wait for the run");
        assert!(feed.send("more").await, "the run must still get its input");
        drop(feed);
        let rest = exchange.finish().await;
        assert!(!rest.cut);
        let framed = frames::demultiplex(&rest.body);
        assert_eq!(framed.stdout, b"ended\n");
        framed.ended("exited", 0);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{signal:?}");
        assert!(!daemon.unix().exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cancelled_and_told_so() {
    let (mut daemon, client) = stopping("200ms").await;
    client.push("spin", guests::limits::LOOP_IN_START).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    // One waits for its input, one computes, one is blocked in a host call.
    let (exchange, _feed) = begun(&client).await;
    let spinning = client.run("spin").framed().open().await;
    let sleeping = client.run("sleep").framed().open().await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    for exchange in [exchange, spinning, sleeping] {
        let rest = exchange.finish().await;
        assert!(!rest.cut, "{rest:?}");
        let framed = frames::demultiplex(&rest.body);
        framed.ended("cancelled", 137);
        assert_eq!(framed.outcome()["by"], "shutdown");
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "the grace is theirs");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let log = daemon.log();
    assert!(log.contains("stopped cancelled=3 unfinished=0"), "{log}");
}

#[tokio::test]
async fn the_data_folder_is_let_go_of_last() {
    let (mut daemon, client) = stopping("60s").await;
    let (exchange, feed) = begun(&client).await;
    daemon.signal(Signal::TERM);
    refusing(&daemon).await;
    let other = || daemon.setup().hosts([format!("unix://{}/other.sock", daemon.setup().folder().display())]);
    let refused = other().refused();
    assert!(refused.stderr.contains("another daemon"), "{refused:?}");
    drop(feed);
    exchange.finish().await;
    let (socket, setup) = (daemon.unix(), other());
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(!socket.exists(), "the folder was let go of before the socket");
    setup.start();
}

/// The ancestor let a caller's own variable through: `overrideShutdown`.
#[tokio::test]
async fn no_word_of_a_caller_starts_a_job_while_the_daemon_stops() {
    let (mut daemon, client) = stopping("60s").await;
    let (exchange, feed) = begun(&client).await;
    let mut connections = [Raw::connect(&daemon).await, Raw::connect(&daemon).await];
    for connection in &mut connections {
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        connection.read_until("OK\n").await;
    }
    daemon.signal(Signal::TERM);
    refusing(&daemon).await;
    let body = r#"{"handler":"print","env":{"overrideShutdown":"true"}}"#;
    let submit = format!("POST /v1/jobs HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let run = "POST /v1/handlers/print/run HTTP/1.1\r\nHost: {host}\r\nCapstan-Env: overrideShutdown=1\r\nContent-Length: 0\r\n\r\n";
    for (connection, request) in connections.iter_mut().zip([submit.as_str(), run]) {
        connection.write(request).await;
        assert_eq!(connection.status().await, 503, "{request}");
    }
    drop(feed);
    exchange.finish().await;
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)] {
        let (mut daemon, client) = stopping("10m").await;
        let (_exchange, _feed) = begun(&client).await;
        daemon.signal(first);
        refusing(&daemon).await;
        assert!(daemon.is_alive());
        let began = Instant::now();
        daemon.signal(second);
        daemon.wait_exit().await;
        assert!(began.elapsed() < SOON, "{first:?}, {second:?}: it took {:?}", began.elapsed());
        assert!(!daemon.unix().exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn a_signal_before_the_gate_opens_stops_as_well() {
    // The line is printed between bind and the opening of the gate, so that the signal comes there or close to it.
    for _ in 0..20 {
        let mut daemon = Setup::new(CAPSTAN).spawn();
        daemon.wait_for_line("listening on unix://").unwrap();
        let began = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{}", daemon.log());
        assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
        assert!(!daemon.unix().exists(), "the socket outlived its daemon");
    }
}

#[tokio::test]
async fn connections_made_before_ready_are_answered_in_the_end() {
    let mut daemon = Setup::new(CAPSTAN).spawn();
    daemon.wait_for_line("listening on tcp://").unwrap();
    let mut early = Vec::new();
    for _ in 0..20 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").await;
        early.push(connection);
    }
    for mut connection in early {
        assert_eq!(connection.status().await, 200);
    }
    daemon.wait_for_line("ready").unwrap();
}
