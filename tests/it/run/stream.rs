//! The streams of a synchronous run over HTTP: full duplex, the response head, trailers, frames, truncation on failure, and buffering of
//! output for clients that send before they read.

use capstan_tests::frames::Splitter;
use capstan_tests::{Client, Raw, eventually, guests};

use crate::{configured, oracle, serving};

#[tokio::test]
async fn output_arrives_while_input_is_open() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    for accepts_trailers in [false, true] {
        let (call, feed) = if accepts_trailers { client.run("cat") } else { client.run_plain("cat") }.streaming_body();
        assert!(feed.send("one\n").await);
        let mut exchange = call.open().await;
        assert_eq!(exchange.read_at_least(4).await, "one\n");
        for line in ["two\n", "six\n"] {
            assert!(feed.send(line).await);
            assert_eq!(exchange.read_at_least(4).await, line);
        }
        drop(feed);
        assert!(!exchange.finish().await.cut);
    }
}

#[tokio::test]
async fn frames_arrive_while_input_is_open() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let (call, feed) = client.run("cat").framed().streaming_body();
    assert!(feed.send("one\n").await);
    let mut exchange = call.open().await;
    let mut splitter = Splitter::default();
    let mut frames = Vec::new();
    while frames.is_empty() {
        frames = splitter.push(&exchange.piece().await.expect("the response continues"));
    }
    assert_eq!(frames, [(1, b"one\n".to_vec())]);
    drop(feed);
    let mut rest = Vec::new();
    while let Some(piece) = exchange.piece().await {
        rest.extend(splitter.push(&piece));
    }
    assert!(matches!(rest.as_slice(), [.., (3, _)]), "{rest:?}");
}

#[tokio::test]
async fn two_hundred_concurrent_runs_deliver_intact_frames() {
    let (mut daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let text = |stream: &str, first: usize| -> String {
        (first..600).step_by(2).map(|line| format!("{stream} {line}\n")).collect()
    };
    let (stdout, stderr) = (text("stdout", 0), text("stderr", 1));
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..200 {
        runs.spawn(client.run("probe").arg("both").arg("600").framed().send());
    }
    for reply in runs.join_all().await {
        let framed = reply.frames();
        framed.assert_outcome("exited", 0);
        assert!(framed.stdout == stdout.as_bytes() && framed.stderr == stderr.as_bytes(), "{framed:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn response_head_of_a_long_run_has_the_job_but_no_outcome() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").streaming_body();
    let mut exchange = call.open().await;
    assert_eq!(exchange.status, 200);
    assert!(exchange.header("capstan-job").is_some());
    assert_eq!(exchange.header("capstan-outcome"), None);
    assert_eq!(exchange.header("capstan-exit-code"), None);
    assert_eq!(exchange.header("content-length"), None);
    assert_eq!(exchange.read_at_least(8).await, "started\n");
    drop(feed);
}

#[tokio::test]
async fn client_that_accepts_trailers_gets_the_outcome_in_trailers() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").arg("7").streaming_body();
    let exchange = call.open().await;
    drop(feed);
    let reply = exchange.finish().await;
    assert!(!reply.cut, "a response with trailers must not be truncated: {reply:?}");
    assert_eq!(reply.text(), "started\nended\n");
    assert_eq!(reply.trailer("capstan-outcome"), Some("exited"));
    assert_eq!(reply.trailer("capstan-exit-code"), Some("7"));
}

/// Lets a run continue past the response head and end, and returns whether the response was truncated.
async fn is_truncated(client: &Client, arg: &str) -> bool {
    let (call, feed) = client.run_plain("print").arg(arg).streaming_body();
    let mut exchange = call.open().await;
    assert_eq!(exchange.read_at_least(8).await, "started\n");
    drop(feed);
    exchange.finish().await.cut
}

#[tokio::test]
async fn response_without_trailers_is_truncated_unless_the_run_succeeds() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    assert!(!is_truncated(&client, "0").await);
    assert!(is_truncated(&client, "7").await);
    client.push("print", guests::run::PRINT_THEN_TRAP).await;
    assert!(is_truncated(&client, "0").await);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn response_over_http2_always_has_the_outcome_in_trailers() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    for code in ["0", "7"] {
        let (call, feed) = client.run_plain("print").arg(code).http2().streaming_body();
        let mut exchange = call.open().await;
        assert_eq!(exchange.read_at_least(8).await, "started\n");
        drop(feed);
        let reply = exchange.finish().await;
        assert!(!reply.cut);
        assert_eq!(
            (reply.trailer("capstan-outcome"), reply.trailer("capstan-exit-code")),
            (Some("exited"), Some(code))
        );
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn short_run_has_the_outcome_in_the_response_head() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    // On a busy machine this run may take longer than the 10 ms for which the head is held back, and then its response is truncated.
    let reply = eventually("a run of less than 10 ms", async || {
        let reply = client.run_plain("both").send_until_cut().await;
        (!reply.cut).then_some(reply)
    })
    .await;
    assert_eq!(reply.header("capstan-outcome"), Some("exited"));
    assert_eq!(reply.header("capstan-exit-code"), Some("3"));
    assert_eq!(reply.header("content-length"), Some("4"));
    assert_eq!(reply.header("transfer-encoding"), None);
}

/// Sends a complete request before it reads the response, and returns the body of the response.
async fn response_after_sending_everything(connection: &mut Raw, handler: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /v1/handlers/{handler}/run HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection.write(&head).await;
    connection.try_write(body).await.unwrap();
    assert_eq!(connection.status().await, 200);
    dechunked(&connection.read_to_end().await)
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk begins with its length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 2 + length + 2..];
    }
}

#[tokio::test]
async fn client_that_sends_before_reading_gets_all_output() {
    let (mut daemon, _client) = serving("cat", guests::run::CAT).await;
    let body: Vec<u8> = (0..20_u32 << 20).map(|place| (place % 251) as u8).collect();
    let mut connection = Raw::connect(&daemon).await;
    let back = response_after_sending_everything(&mut connection, "cat", &body).await;
    assert!(back == body, "{} bytes came back, of {} that were sent", back.len(), body.len());
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn buffered_output_is_limited_by_the_stdout_limit() {
    let (mut daemon, client) = configured("[policy]\nstdout = \"1MiB\"", "cat", guests::run::CAT).await;
    let mut connection = Raw::connect(&daemon).await;
    connection
        .write("POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 8388608\r\nConnection: close\r\n\r\n")
        .await;
    // The daemon may close the connection before it has read everything.
    let _ = connection.try_write(&vec![b'x'; 8 << 20]).await;
    let answer = connection.read_to_end().await;
    assert!(answer.len() < 2 << 20, "{} bytes came back", answer.len());
    assert!(!answer.ends_with(b"0\r\n\r\n"), "output over its limit must not end like a complete response");
    eventually("the run to end", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_stops_reading_frames_blocks_only_its_guest() {
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let before = daemon.peak_memory();
    let mut exchange = client.run("flood").framed().query("timeout", "1s").open().await;
    assert!(!exchange.read_at_least(1).await.is_empty());
    eventually("the run to be timed out", async || (client.running().await == 0).then_some(())).await;
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "unread output used {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_stops_reading_a_plain_response_uses_bounded_memory() {
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let before = daemon.peak_memory();
    let mut exchange = client.run_plain("flood").query("timeout", "1s").open().await;
    assert!(!exchange.read_at_least(1).await.is_empty());
    eventually("the run to be timed out", async || (client.running().await == 0).then_some(())).await;
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "unread output used {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn guest_that_never_reads_blocks_its_client() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let before = daemon.peak_memory();
    let (call, feed) = client.run("sleep").framed().query("timeout", "1s").streaming_body();
    let sending = tokio::spawn(async move {
        let mut sent = 0_u64;
        while sent < 1 << 30 && feed.send_patiently(vec![b'x'; 1 << 20]).await {
            sent += 1 << 20;
        }
        sent
    });
    call.send_until_cut().await;
    let sent = sending.await.unwrap();
    assert!(sent < 64 << 20, "the daemon accepted {sent} bytes for a guest that reads none");
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "unread input used {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn guest_may_exit_before_its_stdin_ends() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let (call, _feed) = client.run("hello").streaming_body();
    let reply = call.send_until_cut().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_disconnects_cancels_its_run() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    client.push("spin", guests::limits::LOOP_IN_START).await;
    let (call, feed) = client.run("print").streaming_body();
    let waiting = call.open().await;
    let spinning = client.run("spin").framed().open().await;
    assert_eq!(client.running().await, 2);
    drop((waiting, feed, spinning));
    eventually("both runs to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_disconnects_during_its_request_cancels_its_run() {
    for (guest, length, body) in [(guests::limits::LOOP_IN_START_FUNCTION, 0, ""), (guests::run::CAT, 1000, "half")] {
        let (mut daemon, client) = serving("guest", guest).await;
        let mut connection = Raw::connect(&daemon).await;
        let head = "POST /v1/handlers/guest/run HTTP/1.1\r\nHost: {host}\r\n";
        connection.write(&format!("{head}Content-Length: {length}\r\n\r\n{body}")).await;
        eventually("the run to start", async || (client.running().await == 1).then_some(())).await;
        drop(connection);
        eventually("the run to be cancelled", async || (client.running().await == 0).then_some(())).await;
        oracle::still_answers(&mut daemon).await;
    }
}
