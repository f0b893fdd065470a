//! Shutdown: running jobs may finish within the grace time, new work is rejected, and then the daemon exits.

use std::time::{Duration, Instant};

use capstan_tests::{Client, Daemon, Exchange, Feed, Raw, Setup, eventually, frames, guests};
use rustix::process::Signal;

use crate::{CAPSTAN, serving};

/// A requested exit takes at most this long, also on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

async fn daemon_with_grace(grace: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(&format!("grace = \"{grace}\"")).start();
    let client = daemon.client();
    client.push("print", guests::run::PRINT_THEN_EXIT).await;
    (daemon, client)
}

/// Starts a run that waits for the end of its stdin.
async fn start_run(client: &Client) -> (Exchange, Feed) {
    let (call, feed) = client.run("print").framed().streaming_body();
    let mut exchange = call.open().await;
    assert!(!exchange.read_at_least(frames_of_started()).await.is_empty());
    (exchange, feed)
}

fn frames_of_started() -> usize {
    8 + "started\n".len()
}

/// Waits until connections fail or requests get 503.
async fn wait_until_draining(daemon: &Daemon) {
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
async fn idle_daemon_exits_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, _client) = serving("hello", guests::run::HELLO).await;
        let began = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{signal:?}");
        assert!(began.elapsed() < EXIT_TIMEOUT, "{signal:?}: it took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn idle_connection_does_not_delay_shutdown() {
    let (mut daemon, _client) = serving("hello", guests::run::HELLO).await;
    let mut connection = Raw::connect(&daemon).await;
    connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    assert_eq!(connection.status().await, 200);
    let mut silent = Raw::connect(&daemon).await;
    silent.write("GET /v1/").await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < 2 * EXIT_TIMEOUT, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn running_jobs_finish_and_new_work_is_rejected() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, client) = daemon_with_grace("60s").await;
        let (exchange, feed) = start_run(&client).await;
        daemon.signal(signal);
        wait_until_draining(&daemon).await;
        assert!(daemon.is_alive(), "the daemon must wait for the run");
        assert!(feed.send("more").await, "the run must still get its stdin");
        drop(feed);
        let rest = exchange.finish().await;
        assert!(!rest.cut);
        let framed = frames::demultiplex(&rest.body);
        assert_eq!(framed.stdout, b"ended\n");
        framed.assert_outcome("exited", 0);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{signal:?}");
        assert!(!daemon.unix().exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn runs_over_the_grace_time_are_cancelled() {
    let (mut daemon, client) = daemon_with_grace("200ms").await;
    client.push("spin", guests::limits::LOOP_IN_START).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
    // One run waits for stdin, one computes, and one is blocked in a host call.
    let (exchange, _feed) = start_run(&client).await;
    let spinning = client.run("spin").framed().open().await;
    let sleeping = client.run("sleep").framed().open().await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    for exchange in [exchange, spinning, sleeping] {
        let rest = exchange.finish().await;
        assert!(!rest.cut, "{rest:?}");
        let framed = frames::demultiplex(&rest.body);
        framed.assert_outcome("cancelled", 137);
        assert_eq!(framed.outcome()["by"], "shutdown");
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "the runs must get the whole grace time");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < EXIT_TIMEOUT, "it took {:?}", began.elapsed());
    let log = daemon.log();
    assert!(log.contains("stopped cancelled=3 unfinished=0"), "{log}");
}

#[tokio::test]
async fn data_folder_is_released_last() {
    let (mut daemon, client) = daemon_with_grace("60s").await;
    let (exchange, feed) = start_run(&client).await;
    daemon.signal(Signal::TERM);
    wait_until_draining(&daemon).await;
    let other = || daemon.setup().hosts([format!("unix://{}/other.sock", daemon.setup().folder().display())]);
    let refused = other().start_must_fail();
    assert!(refused.stderr.contains("another daemon"), "{refused:?}");
    drop(feed);
    exchange.finish().await;
    let (socket, setup) = (daemon.unix(), other());
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(!socket.exists(), "the directory was released before the socket was removed");
    setup.start();
}

/// The ancestor accepted a variable of the caller for this: `overrideShutdown`.
#[tokio::test]
async fn caller_cannot_override_shutdown() {
    let (mut daemon, client) = daemon_with_grace("60s").await;
    let (exchange, feed) = start_run(&client).await;
    let mut connections = [Raw::connect(&daemon).await, Raw::connect(&daemon).await];
    for connection in &mut connections {
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
        assert_eq!(connection.status().await, 200);
        connection.read_until("OK\n").await;
    }
    daemon.signal(Signal::TERM);
    wait_until_draining(&daemon).await;
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
async fn second_signal_exits_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)] {
        let (mut daemon, client) = daemon_with_grace("10m").await;
        let (_exchange, _feed) = start_run(&client).await;
        daemon.signal(first);
        wait_until_draining(&daemon).await;
        assert!(daemon.is_alive());
        let began = Instant::now();
        daemon.signal(second);
        daemon.wait_exit().await;
        assert!(began.elapsed() < EXIT_TIMEOUT, "{first:?}, {second:?}: it took {:?}", began.elapsed());
        assert!(!daemon.unix().exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn signal_before_the_gate_opens_stops_the_daemon() {
    // The line is printed between binding and opening the gate, so the signal arrives before or shortly after the gate opens.
    for _ in 0..20 {
        let mut daemon = Setup::new(CAPSTAN).spawn();
        daemon.wait_for_line("listening on unix://").unwrap();
        let began = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait_exit().await.code(), Some(0), "{}", daemon.log());
        assert!(began.elapsed() < EXIT_TIMEOUT, "it took {:?}", began.elapsed());
        assert!(!daemon.unix().exists(), "the socket still exists after the daemon exited");
    }
}

#[tokio::test]
async fn connections_made_before_ready_are_served() {
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
