//! Attaching to a job with an HTTP upgrade: frames in one direction and stdin in the other.

use std::time::{Duration, Instant};

use capstan_tests::frames::{self, Framed, Splitter};
use capstan_tests::{Address, Client, Daemon, Raw, Setup, WebSocket, eventually, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{output_of, state_of, submit, wait_for_end};
use crate::{CAPSTAN, oracle, serving};

/// Builds the head of an upgrade request.
fn head(id: &str, query: &str) -> String {
    format!(
        "POST /v1/jobs/{id}/attach?{query} HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: capstan.stream\r\n\r\n"
    )
}

/// Opens an upgraded connection. `early` is sent together with the head.
async fn attach(address: &Address, id: &str, query: &str, early: &str) -> Raw {
    let mut raw = Raw::try_connect(address).await.unwrap();
    raw.write(&(head(id, query) + early)).await;
    let answer = raw.read_until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    for header in ["connection: upgrade", "upgrade: capstan.stream", &format!("capstan-job: {id}")] {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header} is not in {answer}");
    }
    raw
}

/// Reads the remaining frames of an upgraded connection.
async fn rest(mut raw: Raw) -> Framed {
    frames::demultiplex(&raw.read_to_end().await)
}

/// Reads output until it has the length of `stdout`, and compares.
async fn expect_stdout(raw: &mut Raw, stdout: &str) {
    let mut read = Vec::new();
    while read.len() < stdout.len() {
        let (stream, payload) = raw.frame().await;
        assert_eq!(stream, 1);
        read.extend(payload);
    }
    assert_eq!(String::from_utf8_lossy(&read), stdout);
}

fn addresses(daemon: &Daemon) -> [Address; 2] {
    [Address::Tcp(daemon.addr()), Address::Unix(daemon.unix())]
}

/// Submits a job that waits for its stdin.
async fn submit_waiting_job(client: &Client, handler: &str) -> String {
    submit(client, &json!({"handler": handler, "args": ["7"], "stdin_later": true})).await
}

#[tokio::test]
async fn bytes_sent_with_and_after_the_head_are_stdin() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    for address in addresses(&daemon) {
        let id = submit_waiting_job(&client, "cat").await;
        let mut raw = attach(&address, &id, "", "sent with the head, ").await;
        raw.write("and after it").await;
        raw.half_close().await;
        let framed = rest(raw).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "sent with the head, and after it", "{address:?}");
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.last["job"], id);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn several_clients_get_past_and_live_output_without_gaps() {
    const LINES: usize = 20_000;
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let [tcp, unix] = addresses(&daemon);
    let id = submit_waiting_job(&client, "cat").await;
    let mut feeder = attach(&tcp, &id, "stdout=0&stderr=0", "").await;
    let lines: Vec<_> = (0..LINES).map(|number| format!("line {number}\n")).collect();
    let (mut whole, mut partly) = (Vec::new(), Vec::new());
    for part in lines.chunks(LINES / 10) {
        whole.push(attach(&unix, &id, "stdin=0&logs=1", "").await);
        partly.push(attach(&tcp, &id, "stdin=false&stderr=0", "").await);
        feeder.write(&part.concat()).await;
    }
    feeder.half_close().await;
    let all = lines.concat();
    for raw in whole {
        let framed = rest(raw).await;
        assert!(framed.stdout == all.as_bytes(), "{} bytes instead of {}", framed.stdout.len(), all.len());
        framed.assert_outcome("exited", 0);
    }
    for raw in partly {
        let framed = rest(raw).await;
        assert!(all.as_bytes().ends_with(&framed.stdout) && !framed.stdout.is_empty(), "{}", framed.stdout.len());
        framed.assert_outcome("exited", 0);
    }
    let framed = rest(feeder).await;
    assert_eq!(framed.stdout, b"", "this client requested no output");
    framed.assert_outcome("exited", 0);
}

#[tokio::test]
async fn two_hundred_attached_jobs_deliver_intact_frames() {
    let (mut daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let text = |stream: &str, first: usize| -> String {
        (first..600).step_by(2).map(|line| format!("{stream} {line}\n")).collect()
    };
    let (stdout, stderr) = (text("stdout", 0), text("stderr", 1));
    let addresses = addresses(&daemon);
    let mut attach = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (client, address) = (client.clone(), addresses[number % 2].clone());
        attach.spawn(async move {
            let id = submit(&client, &json!({"handler": "probe", "args": ["both", "600"]})).await;
            let raw = self::attach(&address, &id, "stdin=0&logs=1", "").await;
            let socket = WebSocket::connect(&address, &format!("/v1/jobs/{id}/attach?stdin=0&logs=1")).await;
            (rest(raw).await, socket.rest().await.0)
        });
    }
    for (frames, messages) in attach.join_all().await {
        for framed in [frames, messages] {
            framed.assert_outcome("exited", 0);
            assert!(framed.stdout == stdout.as_bytes() && framed.stderr == stderr.as_bytes(), "{framed:?}");
        }
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_resets_does_not_affect_other_clients() {
    const WRITTEN: u64 = 16 << 20;
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    client.push("cat", guests::run::CAT).await;
    // Closing a connection with unread output resets it.
    let id = submit(&client, &json!({"handler": "flood", "policy": {"stdout": WRITTEN}})).await;
    for address in addresses(&daemon) {
        let mut raw = attach(&address, &id, "stdin=0&logs=1", "").await;
        raw.frame().await;
        drop(raw);
    }
    assert_eq!(wait_for_end(&client, &id).await["outcome"]["kind"], "output_cap");
    let id = submit_waiting_job(&client, "cat").await;
    let mut other = attach(client.address(), &id, "stdin=0", "").await;
    let mut feeder = attach(client.address(), &id, "", "first ").await;
    expect_stdout(&mut other, "first ").await;
    // The feeder does not read the echo.
    feeder.write("second").await;
    expect_stdout(&mut other, "second").await;
    drop(feeder);
    eventually("stdin to accept another client", async || {
        let fed = client.put(&format!("/v1/jobs/{id}/stdin"), " third").send().await;
        (fed.status == 204).then_some(())
    })
    .await;
    let framed = rest(other).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), " third");
    framed.assert_outcome("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_disconnects_leaves_stdin_open_for_the_next() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let [_, unix] = addresses(&daemon);
    let id = submit_waiting_job(&client, "cat").await;
    let mut first = attach(&unix, &id, "", "one ").await;
    expect_stdout(&mut first, "one ").await;
    drop(first);
    let mut second = eventually("stdin to accept a client again", async || {
        let mut raw = Raw::try_connect(&unix).await.unwrap();
        raw.write(&head(&id, "logs=1")).await;
        (raw.status().await == 101).then_some(raw)
    })
    .await;
    assert_eq!(state_of(&client, &id).await, "running");
    second.write("two").await;
    second.half_close().await;
    let framed = rest(second).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "one two");
    framed.assert_outcome("exited", 0);
    // Everything that was sent arrives even if the client disconnects at once, however the daemon detects that.
    let id = submit_waiting_job(&client, "cat").await;
    for round in 1..=200 {
        let mut hasty = eventually("stdin to accept a client again", async || {
            let mut raw = Raw::try_connect(&unix).await.unwrap();
            raw.write(&head(&id, "stdout=0")).await;
            (raw.status().await == 101).then_some(raw)
        })
        .await;
        hasty.write(&"x".repeat(1000)).await;
        drop(hasty);
        eventually("all of it to be printed", async || {
            (output_of(&client, &id).await.len() == 1000 * round).then_some(())
        })
        .await;
    }
    eventually("stdin to accept another client", async || {
        let fed = client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await;
        (fed.status == 204).then_some(())
    })
    .await;
    wait_for_end(&client, &id).await;
}

#[tokio::test]
async fn disconnect_is_detected_while_the_job_is_silent() {
    let (daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let id = submit_waiting_job(&client, "print").await;
    let settled = async || {
        let (mut last, mut same) = (usize::MAX, 0);
        eventually("the connections of other calls to be closed", async || {
            let submit_waiting_job = daemon.open_files();
            same = if std::mem::replace(&mut last, submit_waiting_job) == submit_waiting_job { same + 1 } else { 0 };
            (same == 100).then_some(submit_waiting_job)
        })
        .await
    };
    let before = settled().await;
    for address in addresses(&daemon) {
        let mut raw = attach(&address, &id, "stdin=0&logs=1", "").await;
        expect_stdout(&mut raw, "started\n").await;
        assert!(daemon.open_files() > before);
        drop(raw);
        eventually("its connection to be closed", async || (daemon.open_files() <= before).then_some(())).await;
    }
    assert_eq!(state_of(&client, &id).await, "running");
}

#[tokio::test]
async fn attach_to_ended_job_replays_the_selected_streams() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    wait_for_end(&client, &id).await;
    for (query, stdout, stderr) in [
        ("", "", ""),
        ("logs=1", "out\n", "err\n"),
        ("logs&stdout=1", "out\n", ""),
        ("logs=true&stdout=0&stdin=0", "", "err\n"),
        ("logs=1&stdout=0&stderr=0", "", ""),
    ] {
        let framed = rest(attach(client.address(), &id, query, "").await).await;
        let printed = (String::from_utf8_lossy(&framed.stdout), String::from_utf8_lossy(&framed.stderr));
        assert_eq!(printed, (stdout.into(), stderr.into()), "{query}");
        framed.assert_outcome("exited", 3);
    }
}

#[tokio::test]
async fn invalid_attach_is_rejected_before_the_upgrade() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let id = submit_waiting_job(&client, "print").await;
    let path = format!("/v1/jobs/{id}/attach");
    let asking = |path: &str| client.post(path).header("connection", "Upgrade").header("upgrade", "capstan.stream");
    for query in ["stdin=maybe", "logs=2", "tail=1", "logs=1&logs=1", "stdout=%FF"] {
        asking(&format!("{path}?{query}")).send().await.error(400, "bad_request");
    }
    asking(&path).body("stdin").send().await.error(400, "bad_request");
    client.post(&path).http2().send().await.error(400, "bad_request");
    let unknown = "/v1/jobs/00000000000000000000000000000000/attach";
    asking(unknown).send().await.error(404, "unknown_job");
    asking("/v1/jobs/nonsense/attach").send().await.error(404, "unknown_job");
    for call in [
        client.post(&path),
        client.post(&path).header("upgrade", "capstan.stream"),
        client.post(&path).header("connection", "Upgrade").header("upgrade", "websocket"),
    ] {
        let reply = call.send().await;
        assert_eq!(reply.header("upgrade"), Some("capstan.stream"));
        reply.error(426, "upgrade_required");
    }
    client.put(&path, "").send().await.error(405, "method_not_allowed");

    // Only one client can feed stdin at a time.
    let mut first = attach(client.address(), &id, "logs=1", "").await;
    expect_stdout(&mut first, "started\n").await;
    for call in [asking(&path), asking(&format!("{path}?stdin=1")), client.put(&format!("/v1/jobs/{id}/stdin"), "x")] {
        let reply = call.send().await;
        assert_eq!(reply.json()["error"]["job"], id);
        reply.error(409, "conflict");
    }
    let closed = submit(&client, &json!({"handler": "print"})).await;
    wait_for_end(&client, &closed).await;
    asking(&format!("/v1/jobs/{closed}/attach?stdin=1")).send().await.error(409, "job_ended");
    let watching = attach(client.address(), &id, "stdin=0", "").await;
    first.half_close().await;
    rest(first).await.assert_outcome("exited", 7);
    rest(watching).await.assert_outcome("exited", 7);

    // A removed job is unknown, and the output of a synchronous run belongs to its client.
    assert_eq!(client.delete(&format!("/v1/jobs/{id}")).send().await.status, 204);
    asking(&path).send().await.error(404, "unknown_job");
    let run = client.run("print").framed().send().await.frames();
    asking(&format!("/v1/jobs/{}/attach", run.last["job"].as_str().unwrap())).send().await.error(404, "no_logs");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn client_that_does_not_read_delays_nobody_and_gets_a_gap() {
    const WRITTEN: u64 = 64 << 20;
    let (_daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let id = submit(&client, &json!({"handler": "flood", "stdin_later": true, "policy": {"stdout": WRITTEN}})).await;
    let mut stalled = attach(client.address(), &id, "stdin=0&logs=1", "").await;
    let job = wait_for_end(&client, &id).await;
    // The client can still read the output of a job that is removed.
    assert_eq!(client.delete(&format!("/v1/jobs/{id}")).send().await.status, 204);
    let (mut output, mut missed, mut last) = (0, 0, Value::Null);
    for (stream, payload) in Splitter::default().push(&stalled.read_to_end().await) {
        assert_eq!(last, Value::Null, "the outcome must be the last frame");
        match stream {
            1 => output += payload.len() as u64,
            3 => last = serde_json::from_slice(&payload).unwrap(),
            4 => missed += serde_json::from_slice::<Value>(&payload).unwrap()["gap"].as_u64().unwrap(),
            other => panic!("a frame of stream {other}"),
        }
    }
    assert_eq!(output + missed, WRITTEN);
    assert_eq!(last["outcome"], job["outcome"]);
}

#[tokio::test]
async fn shutdown_sends_the_outcome_to_attached_clients() {
    let mut daemon = Setup::new(CAPSTAN).config("grace = \"200ms\"").start();
    let client = daemon.client();
    client.push("print", guests::run::PRINT_THEN_EXIT).await;
    client.push("flood", guests::limits::FLOOD_STDOUT).await;
    let flood = submit(&client, &json!({"handler": "flood", "policy": {"stdout": 16 << 20}})).await;
    wait_for_end(&client, &flood).await;
    let stalled = attach(client.address(), &flood, "logs=1", "").await;
    let id = submit_waiting_job(&client, "print").await;
    let mut raw = attach(client.address(), &id, "logs=1", "").await;
    expect_stdout(&mut raw, "started\n").await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    let framed = rest(raw).await;
    framed.assert_outcome("cancelled", 137);
    assert_eq!(framed.outcome()["by"], "shutdown");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    drop(stalled);
}
