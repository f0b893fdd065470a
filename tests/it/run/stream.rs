//! How the streams of a synchronous run travel: both ways at once, the head rule, trailers, frames, the abort rule, the spill rule.

use capstan_tests::frames::Splitter;
use capstan_tests::{Client, Raw, eventually, guests};

use crate::{configured, oracle, serving};

#[tokio::test]
async fn output_comes_while_input_is_still_open() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    for accepts_trailers in [false, true] {
        let (call, feed) = if accepts_trailers { client.run("cat") } else { client.run_plain("cat") }.fed();
        assert!(feed.send("one\n").await);
        let mut exchange = call.open().await;
        assert_eq!(exchange.at_least(4).await, "one\n");
        for line in ["two\n", "six\n"] {
            assert!(feed.send(line).await);
            assert_eq!(exchange.at_least(4).await, line);
        }
        drop(feed);
        assert!(!exchange.finish().await.cut);
    }
}

#[tokio::test]
async fn frames_come_while_input_is_still_open() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let (call, feed) = client.run("cat").framed().fed();
    assert!(feed.send("one\n").await);
    let mut exchange = call.open().await;
    let mut splitter = Splitter::default();
    let mut frames = Vec::new();
    while frames.is_empty() {
        frames = splitter.push(&exchange.piece().await.expect("the answer goes on"));
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
async fn no_frame_of_two_hundred_runs_at_once_is_corrupted() {
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
        framed.ended("exited", 0);
        assert!(framed.stdout == stdout.as_bytes() && framed.stderr == stderr.as_bytes(), "{framed:?}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn the_head_of_a_long_run_has_the_job_but_no_outcome() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").fed();
    let mut exchange = call.open().await;
    assert_eq!(exchange.status, 200);
    assert!(exchange.header("capstan-job").is_some());
    assert_eq!(exchange.header("capstan-outcome"), None);
    assert_eq!(exchange.header("capstan-exit-code"), None);
    assert_eq!(exchange.header("content-length"), None);
    assert_eq!(exchange.at_least(8).await, "started\n");
    drop(feed);
}

#[tokio::test]
async fn trailers_tell_the_end_to_who_takes_them() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").arg("7").fed();
    let exchange = call.open().await;
    drop(feed);
    let reply = exchange.finish().await;
    assert!(!reply.cut, "who takes trailers needs no cut: {reply:?}");
    assert_eq!(reply.text(), "started\nended\n");
    assert_eq!(reply.trailer("capstan-outcome"), Some("exited"));
    assert_eq!(reply.trailer("capstan-exit-code"), Some("7"));
}

/// Lets a run go past its head, then end, and tells whether the answer was cut.
async fn is_cut(client: &Client, arg: &str, http2: bool) -> bool {
    let call = client.run_plain("print").arg(arg);
    let (call, feed) = if http2 { call.http2() } else { call }.fed();
    let mut exchange = call.open().await;
    assert_eq!(exchange.at_least(8).await, "started\n");
    drop(feed);
    exchange.finish().await.cut
}

#[tokio::test]
async fn who_takes_no_trailers_sees_a_cut_for_all_but_exit_0() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    assert!(!is_cut(&client, "0", false).await);
    assert!(is_cut(&client, "7", false).await);
    client.push("print", guests::run::PRINT_THEN_TRAP).await;
    assert!(is_cut(&client, "0", false).await);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn the_same_over_http_2() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    assert!(!is_cut(&client, "0", true).await);
    assert!(is_cut(&client, "7", true).await);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_run_that_is_over_before_its_head_is_not_cut() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    // On a busy machine even this run may outlast the 10 ms that the head is held back, and then its answer is cut.
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

/// Sends a whole run before it reads a byte of the answer, and gives the body of that.
async fn sent_before_read(connection: &mut Raw, handler: &str, body: &[u8]) -> Vec<u8> {
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
async fn a_client_that_sends_all_before_it_reads_gets_all_back() {
    let (mut daemon, _client) = serving("cat", guests::run::CAT).await;
    let body: Vec<u8> = (0..20_u32 << 20).map(|place| (place % 251) as u8).collect();
    let mut connection = Raw::connect(&daemon).await;
    let back = sent_before_read(&mut connection, "cat", &body).await;
    assert!(back == body, "{} bytes came back, of {} that were sent", back.len(), body.len());
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn what_spills_is_held_by_the_stdout_cap() {
    let (mut daemon, client) = configured("[policy]\nstdout = \"1MiB\"", "cat", guests::run::CAT).await;
    let mut connection = Raw::connect(&daemon).await;
    connection
        .write("POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 8388608\r\nConnection: close\r\n\r\n")
        .await;
    // The daemon may cut the connection before it has read all, and that is as it should be.
    let _ = connection.try_write(&vec![b'x'; 8 << 20]).await;
    let answer = connection.read_to_end().await;
    assert!(answer.len() < 2 << 20, "{} bytes came back", answer.len());
    assert!(!answer.ends_with(b"0\r\n\r\n"), "a run over its cap must not end as if it were whole");
    eventually("the run to end", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn who_stops_reading_frames_stops_the_guest_and_not_the_daemon() {
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let before = daemon.peak_memory();
    let mut exchange = client.run("flood").framed().query("timeout", "1s").open().await;
    assert!(!exchange.at_least(1).await.is_empty());
    eventually("the run to be timed out", async || (client.running().await == 0).then_some(())).await;
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "output that nobody reads took {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn who_stops_reading_a_plain_answer_does_not_fill_the_memory_either() {
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let before = daemon.peak_memory();
    let mut exchange = client.run_plain("flood").query("timeout", "1s").open().await;
    assert!(!exchange.at_least(1).await.is_empty());
    eventually("the run to be timed out", async || (client.running().await == 0).then_some(())).await;
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "output that nobody reads took {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_guest_that_never_reads_holds_its_client_back() {
    let (mut daemon, client) = serving("sleep", guests::limits::SLEEP_FOR_EVER).await;
    let before = daemon.peak_memory();
    let (call, feed) = client.run("sleep").framed().query("timeout", "1s").fed();
    let sending = tokio::spawn(async move {
        let mut sent = 0_u64;
        while sent < 1 << 30 && feed.send_patiently(vec![b'x'; 1 << 20]).await {
            sent += 1 << 20;
        }
        sent
    });
    call.send_until_cut().await;
    let sent = sending.await.unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken for a guest that reads none");
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "input that nobody reads took {grown} bytes of the daemon's memory");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_guest_may_end_before_its_input_does() {
    let (mut daemon, client) = serving("hello", guests::run::HELLO).await;
    let (call, _feed) = client.run("hello").fed();
    let reply = call.send_until_cut().await;
    reply.ended("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_run() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    client.push("spin", guests::limits::LOOP_IN_START).await;
    let (call, feed) = client.run("print").fed();
    let waiting = call.open().await;
    let spinning = client.run("spin").framed().open().await;
    assert_eq!(client.running().await, 2);
    drop((waiting, feed, spinning));
    eventually("both runs to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_ends_its_run() {
    let (mut daemon, client) = serving("spin", guests::limits::LOOP_IN_START_FUNCTION).await;
    let mut connection = Raw::connect(&daemon).await;
    connection.write("POST /v1/handlers/spin/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n").await;
    eventually("the run to begin", async || (client.running().await == 1).then_some(())).await;
    drop(connection);
    eventually("the run to be cancelled", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_its_input_ends_its_run() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let mut connection = Raw::connect(&daemon).await;
    connection.write("POST /v1/handlers/cat/run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nhalf").await;
    eventually("the run to begin", async || (client.running().await == 1).then_some(())).await;
    drop(connection);
    eventually("the run to end", async || (client.running().await == 0).then_some(())).await;
    oracle::still_answers(&mut daemon).await;
}
