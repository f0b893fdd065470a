//! Attaching to a job: a real upgrade of the connection, frames one way and stdin the other.

use std::time::{Duration, Instant};

use capstan_tests::frames::{self, Framed, Splitter};
use capstan_tests::{Address, Client, Daemon, Raw, Setup, WebSocket, eventually, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::jobs::api::{ended, printed, state, submit};
use crate::{CAPSTAN, oracle, serving};

/// The head of a request that asks for an upgrade.
fn head(id: &str, query: &str) -> String {
    format!(
        "POST /v1/jobs/{id}/attach?{query} HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: capstan.stream\r\n\r\n"
    )
}

/// A connection that must be upgraded; `early` is sent together with the head.
async fn attached(address: &Address, id: &str, query: &str, early: &str) -> Raw {
    let mut raw = Raw::try_connect(address).await.unwrap();
    raw.write(&(head(id, query) + early)).await;
    let answer = raw.read_until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    for header in ["connection: upgrade", "upgrade: capstan.stream", &format!("capstan-job: {id}")] {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header} is not in {answer}");
    }
    raw
}

/// All that still comes on an upgraded connection.
async fn rest(mut raw: Raw) -> Framed {
    frames::demultiplex(&raw.read_to_end().await)
}

/// The next output, which must be this.
async fn expect(raw: &mut Raw, stdout: &str) {
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

/// A job that waits for its stdin.
async fn open(client: &Client, handler: &str) -> String {
    submit(client, &json!({"handler": handler, "args": ["7"], "stdin_later": true})).await
}

#[tokio::test]
async fn what_is_sent_with_the_head_and_after_it_is_stdin() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    for address in addresses(&daemon) {
        let id = open(&client, "cat").await;
        let mut raw = attached(&address, &id, "", "sent with the head, ").await;
        raw.write("and after it").await;
        raw.half_close().await;
        let framed = rest(raw).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "sent with the head, and after it", "{address:?}");
        framed.ended("exited", 0);
        assert_eq!(framed.last["job"], id);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn what_was_printed_and_what_comes_join_for_each_of_several_clients() {
    const LINES: usize = 20_000;
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let [tcp, unix] = addresses(&daemon);
    let id = open(&client, "cat").await;
    let mut feeder = attached(&tcp, &id, "stdout=0&stderr=0", "").await;
    let lines: Vec<_> = (0..LINES).map(|number| format!("line {number}\n")).collect();
    let (mut whole, mut partly) = (Vec::new(), Vec::new());
    for part in lines.chunks(LINES / 10) {
        whole.push(attached(&unix, &id, "stdin=0&logs=1", "").await);
        partly.push(attached(&tcp, &id, "stdin=false&stderr=0", "").await);
        feeder.write(&part.concat()).await;
    }
    feeder.half_close().await;
    let all = lines.concat();
    for raw in whole {
        let framed = rest(raw).await;
        assert!(framed.stdout == all.as_bytes(), "{} bytes instead of {}", framed.stdout.len(), all.len());
        framed.ended("exited", 0);
    }
    for raw in partly {
        let framed = rest(raw).await;
        assert!(all.as_bytes().ends_with(&framed.stdout) && !framed.stdout.is_empty(), "{}", framed.stdout.len());
        framed.ended("exited", 0);
    }
    let framed = rest(feeder).await;
    assert_eq!(framed.stdout, b"", "it wanted none");
    framed.ended("exited", 0);
}

#[tokio::test]
async fn no_frame_of_two_hundred_attached_jobs_is_corrupted() {
    let (mut daemon, client) = serving("probe", &guests::compiled("probe.p1")).await;
    let text = |stream: &str, first: usize| -> String {
        (first..600).step_by(2).map(|line| format!("{stream} {line}\n")).collect()
    };
    let (stdout, stderr) = (text("stdout", 0), text("stderr", 1));
    let addresses = addresses(&daemon);
    let mut attached = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (client, address) = (client.clone(), addresses[number % 2].clone());
        attached.spawn(async move {
            let id = submit(&client, &json!({"handler": "probe", "args": ["both", "600"]})).await;
            let raw = self::attached(&address, &id, "stdin=0&logs=1", "").await;
            let socket = WebSocket::connect(&address, &format!("/v1/jobs/{id}/attach?stdin=0&logs=1")).await;
            (rest(raw).await, socket.rest().await.0)
        });
    }
    for (frames, messages) in attached.join_all().await {
        for framed in [frames, messages] {
            framed.ended("exited", 0);
            assert!(framed.stdout == stdout.as_bytes() && framed.stderr == stderr.as_bytes(), "{framed:?}");
        }
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_client_that_resets_in_the_middle_harms_nobody_else() {
    const WRITTEN: u64 = 16 << 20;
    let (mut daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    client.push("cat", guests::run::CAT).await;
    // With output on its way that it never reads, a connection that is closed is reset.
    let id = submit(&client, &json!({"handler": "flood", "policy": {"stdout": WRITTEN}})).await;
    for address in addresses(&daemon) {
        let mut raw = attached(&address, &id, "stdin=0&logs=1", "").await;
        raw.frame().await;
        drop(raw);
    }
    assert_eq!(ended(&client, &id).await["outcome"]["kind"], "output_cap");
    let id = open(&client, "cat").await;
    let mut other = attached(client.address(), &id, "stdin=0", "").await;
    let mut feeder = attached(client.address(), &id, "", "first ").await;
    expect(&mut other, "first ").await;
    // What was echoed to the feeder is not read by it.
    feeder.write("second").await;
    expect(&mut other, "second").await;
    drop(feeder);
    eventually("its stdin to be open for another", async || {
        let fed = client.put(&format!("/v1/jobs/{id}/stdin"), " third").send().await;
        (fed.status == 204).then_some(())
    })
    .await;
    let framed = rest(other).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), " third");
    framed.ended("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn who_leaves_without_ending_stdin_leaves_the_job_and_its_stdin() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let [_, unix] = addresses(&daemon);
    let id = open(&client, "cat").await;
    let mut first = attached(&unix, &id, "", "one ").await;
    expect(&mut first, "one ").await;
    drop(first);
    let mut second = eventually("the stdin to be open again", async || {
        let mut raw = Raw::try_connect(&unix).await.unwrap();
        raw.write(&head(&id, "logs=1")).await;
        (raw.status().await == 101).then_some(raw)
    })
    .await;
    assert_eq!(state(&client, &id).await, "running");
    second.write("two").await;
    second.half_close().await;
    let framed = rest(second).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "one two");
    framed.ended("exited", 0);
    // And all of what was sent arrives where the client does not wait for it, however its leaving is heard of.
    let id = open(&client, "cat").await;
    for round in 1..=200 {
        let mut hasty = eventually("the stdin to be open again", async || {
            let mut raw = Raw::try_connect(&unix).await.unwrap();
            raw.write(&head(&id, "stdout=0")).await;
            (raw.status().await == 101).then_some(raw)
        })
        .await;
        hasty.write(&"x".repeat(1000)).await;
        drop(hasty);
        eventually("all of it to be printed", async || {
            (printed(&client, &id).await.len() == 1000 * round).then_some(())
        })
        .await;
    }
    eventually("its stdin to be open for another", async || {
        let fed = client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await;
        (fed.status == 204).then_some(())
    })
    .await;
    ended(&client, &id).await;
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed_though_the_job_is_silent() {
    let (daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let id = open(&client, "print").await;
    let settled = async || {
        let (mut last, mut same) = (usize::MAX, 0);
        eventually("the connections of other calls to be closed", async || {
            let open = daemon.open_files();
            same = if std::mem::replace(&mut last, open) == open { same + 1 } else { 0 };
            (same == 100).then_some(open)
        })
        .await
    };
    let before = settled().await;
    for address in addresses(&daemon) {
        let mut raw = attached(&address, &id, "stdin=0&logs=1", "").await;
        expect(&mut raw, "started\n").await;
        assert!(daemon.open_files() > before);
        drop(raw);
        eventually("its connection to be closed", async || (daemon.open_files() <= before).then_some(())).await;
    }
    assert_eq!(state(&client, &id).await, "running");
}

#[tokio::test]
async fn streams_are_chosen_and_an_ended_job_is_replayed() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    ended(&client, &id).await;
    for (query, stdout, stderr) in [
        ("", "", ""),
        ("logs=1", "out\n", "err\n"),
        ("logs&stdout=1", "out\n", ""),
        ("logs=true&stdout=0&stdin=0", "", "err\n"),
        ("logs=1&stdout=0&stderr=0", "", ""),
    ] {
        let framed = rest(attached(client.address(), &id, query, "").await).await;
        let printed = (String::from_utf8_lossy(&framed.stdout), String::from_utf8_lossy(&framed.stderr));
        assert_eq!(printed, (stdout.into(), stderr.into()), "{query}");
        framed.ended("exited", 3);
    }
}

#[tokio::test]
async fn what_cannot_be_attached_to_is_refused_before_the_upgrade() {
    let (mut daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let id = open(&client, "print").await;
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

    // One feeds it, and only one.
    let mut first = attached(client.address(), &id, "logs=1", "").await;
    expect(&mut first, "started\n").await;
    for call in [asking(&path), asking(&format!("{path}?stdin=1")), client.put(&format!("/v1/jobs/{id}/stdin"), "x")] {
        let reply = call.send().await;
        assert_eq!(reply.json()["error"]["job"], id);
        reply.error(409, "conflict");
    }
    let closed = submit(&client, &json!({"handler": "print"})).await;
    ended(&client, &closed).await;
    asking(&format!("/v1/jobs/{closed}/attach?stdin=1")).send().await.error(409, "job_ended");
    let watching = attached(client.address(), &id, "stdin=0", "").await;
    first.half_close().await;
    rest(first).await.ended("exited", 7);
    rest(watching).await.ended("exited", 7);

    // What was removed is not there any more, and what a synchronous run prints is its client's.
    assert_eq!(client.delete(&format!("/v1/jobs/{id}")).send().await.status, 204);
    asking(&path).send().await.error(404, "unknown_job");
    let run = client.run("print").framed().send().await.frames();
    asking(&format!("/v1/jobs/{}/attach", run.last["job"].as_str().unwrap())).send().await.error(404, "no_logs");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_back_and_is_told_what_it_missed() {
    const WRITTEN: u64 = 64 << 20;
    let (_daemon, client) = serving("flood", guests::limits::FLOOD_STDOUT).await;
    let id = submit(&client, &json!({"handler": "flood", "stdin_later": true, "policy": {"stdout": WRITTEN}})).await;
    let mut stalled = attached(client.address(), &id, "stdin=0&logs=1", "").await;
    let job = ended(&client, &id).await;
    // Not even one that is forgotten by now.
    assert_eq!(client.delete(&format!("/v1/jobs/{id}")).send().await.status, 204);
    let (mut output, mut missed, mut last) = (0, 0, Value::Null);
    for (stream, payload) in Splitter::default().push(&stalled.read_to_end().await) {
        assert_eq!(last, Value::Null, "the outcome is the last");
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
async fn a_daemon_that_stops_tells_who_is_attached_and_waits_for_nobody() {
    let mut daemon = Setup::new(CAPSTAN).config("grace = \"200ms\"").start();
    let client = daemon.client();
    client.push("print", guests::run::PRINT_THEN_EXIT).await;
    client.push("flood", guests::limits::FLOOD_STDOUT).await;
    let flood = submit(&client, &json!({"handler": "flood", "policy": {"stdout": 16 << 20}})).await;
    ended(&client, &flood).await;
    let stalled = attached(client.address(), &flood, "logs=1", "").await;
    let id = open(&client, "print").await;
    let mut raw = attached(client.address(), &id, "logs=1", "").await;
    expect(&mut raw, "started\n").await;
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    let framed = rest(raw).await;
    framed.ended("cancelled", 137);
    assert_eq!(framed.outcome()["by"], "shutdown");
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    drop(stalled);
}
