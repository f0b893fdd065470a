//! Attaching over a WebSocket: frames are messages in one direction, stdin in the other. Includes clients that violate the protocol.

use capstan_tests::{Address, Client, CloseCode, Message, Raw, WebSocket, eventually, guests};
use rustix::process::Signal;
use serde_json::json;

use crate::jobs::api::{state_of, submit, wait_for_end};
use crate::{oracle, serving};

/// The headers of a WebSocket handshake.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn path(id: &str, query: &str) -> String {
    format!("/v1/jobs/{id}/attach?{query}")
}

/// Submits a job that waits for its stdin.
async fn submit_waiting_job(client: &Client, handler: &str) -> String {
    submit(client, &json!({"handler": handler, "args": ["7"], "stdin_later": true})).await
}

/// Reads output until it has the length of `stdout`, and compares.
async fn expect_stdout(socket: &mut WebSocket, stdout: &str) {
    let mut read = Vec::new();
    while read.len() < stdout.len() {
        let (stream, payload) = socket.frame().await;
        assert_eq!(stream, 1);
        read.extend(payload);
    }
    assert_eq!(String::from_utf8_lossy(&read), stdout);
}

/// Attaches with stdin, as soon as no other client is attached.
async fn attach_with_stdin(address: &Address, id: &str, query: &str) -> WebSocket {
    eventually("stdin to accept a client", async || WebSocket::try_connect(address, &path(id, query), &[]).await.ok())
        .await
}

#[tokio::test]
async fn messages_become_stdin_and_output_becomes_messages() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    for address in [Address::Tcp(daemon.addr()), Address::Unix(daemon.unix())] {
        let id = submit_waiting_job(&client, "cat").await;
        let mut socket = WebSocket::connect(&address, &path(&id, "")).await;
        assert!(socket.answer.contains(&format!("capstan-job: {id}\n")), "{}", socket.answer);
        socket.send(Message::text("text, ")).await;
        expect_stdout(&mut socket, "text, ").await;
        socket.send(Message::binary(&b"bytes \0\xff"[..])).await;
        let large = "x".repeat(256 << 10);
        socket.send(Message::text(large.clone())).await;
        socket.send(Message::binary(&b""[..])).await;
        socket.send(Message::text("after its end")).await;
        let (framed, close) = socket.rest().await;
        assert!(framed.stdout == [b"bytes \0\xff", large.as_bytes()].concat(), "{} bytes", framed.stdout.len());
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.last["job"], id);
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Normal, "exited 0"));
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn attach_to_ended_job_replays_the_selected_streams() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let id = submit(&client, &json!({"handler": "both"})).await;
    wait_for_end(&client, &id).await;
    for (query, stdout, stderr) in [("", "", ""), ("logs=1", "out\n", "err\n"), ("logs=1&stdout=0", "", "err\n")] {
        let (framed, close) = WebSocket::connect(client.address(), &path(&id, query)).await.rest().await;
        let printed = (String::from_utf8_lossy(&framed.stdout), String::from_utf8_lossy(&framed.stderr));
        assert_eq!(printed, (stdout.into(), stderr.into()), "{query}");
        framed.assert_outcome("exited", 3);
        assert_eq!(close.reason.as_str(), "exited 3");
    }
}

#[tokio::test]
async fn client_that_disconnects_detaches_and_the_next_continues() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let address = Address::Tcp(daemon.addr());
    let id = submit_waiting_job(&client, "cat").await;
    let mut first = WebSocket::connect(&address, &path(&id, "")).await;
    let refused = WebSocket::try_connect(&address, &path(&id, ""), &[]).await.unwrap_err();
    assert_eq!(refused.status(), 409);
    first.send(Message::text("one ")).await;
    expect_stdout(&mut first, "one ").await;
    first.send(Message::Close(None)).await;
    let answer = first.next().await;
    assert!(matches!(answer, Some(Message::Close(_))), "{answer:?} instead of a Close");
    let mut second = attach_with_stdin(&address, &id, "").await;
    second.send(Message::text("two ")).await;
    expect_stdout(&mut second, "two ").await;
    drop(second);
    let mut third = attach_with_stdin(&address, &id, "logs=1").await;
    assert_eq!(state_of(&client, &id).await, "running");
    third.send(Message::text("three")).await;
    third.send(Message::text("")).await;
    let (framed, _) = third.rest().await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "one two three");
    framed.assert_outcome("exited", 0);
}

#[tokio::test]
async fn client_that_sends_before_reading_gets_all_output() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit_waiting_job(&client, "cat").await;
    let mut socket = WebSocket::connect(client.address(), &path(&id, "")).await;
    let piece = "y".repeat(64 << 10);
    for _ in 0..128 {
        socket.send(Message::text(piece.clone())).await;
    }
    socket.send(Message::text("")).await;
    assert_eq!(wait_for_end(&client, &id).await["usage"]["stdout_bytes"], 8 << 20);
}

#[tokio::test]
async fn ping_gets_a_pong_while_the_job_is_silent() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit_waiting_job(&client, "cat").await;
    let mut socket = WebSocket::connect(client.address(), &path(&id, "")).await;
    socket.send(Message::Ping("there?".into())).await;
    assert_eq!(socket.next().await, Some(Message::Pong("there?".into())));
}

#[tokio::test]
async fn invalid_handshake_is_rejected_before_the_upgrade() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let id = submit_waiting_job(&client, "cat").await;
    let asking = |left_out: &str, instead: &[(&'static str, &str)]| {
        let kept = HANDSHAKE.iter().filter(|(name, _)| *name != left_out).chain(instead);
        kept.fold(client.get(&path(&id, "")), |call, (name, value)| call.header(name, value))
    };
    for version in [&[][..], &[("sec-websocket-version", "8")], &[("sec-websocket-version", "14")]] {
        let reply = asking("sec-websocket-version", version).send().await;
        assert_eq!(reply.header("sec-websocket-version"), Some("13"));
        reply.error(426, "upgrade_required");
    }
    for (left_out, instead) in
        [("connection", &[][..]), ("upgrade", &[]), ("upgrade", &[("upgrade", "capstan.stream")])]
    {
        let reply = asking(left_out, instead).send().await;
        assert_eq!((reply.header("upgrade"), reply.header("sec-websocket-version")), (Some("websocket"), Some("13")));
        reply.error(426, "upgrade_required");
    }
    for key in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ", "no Base64 at all!!!!!!!!"] {
        asking("sec-websocket-key", &[("sec-websocket-key", key)]).send().await.error(400, "bad_request");
    }
    asking("sec-websocket-key", &[]).send().await.error(400, "bad_request");
    asking("", &[HANDSHAKE[3]]).send().await.error(400, "bad_request");
    asking("", &[("sec-websocket-protocol", "chat, graphql-ws")]).send().await.error(400, "bad_request");
    asking("", &[]).body("stdin").send().await.error(400, "bad_request");
    asking("", &[]).http2().send().await.error(400, "bad_request");
    for query in ["stdin=maybe", "tail=1", "logs=1&logs=1"] {
        let call = HANDSHAKE.iter().fold(client.get(&path(&id, query)), |call, (name, value)| call.header(name, value));
        call.send().await.error(400, "bad_request");
    }
    let unknown = path("00000000000000000000000000000000", "");
    let refused = WebSocket::try_connect(client.address(), &unknown, &[]).await.unwrap_err();
    assert_eq!(refused.status(), 404);

    // A client can request the subprotocol by name, and the response confirms it.
    let offers = [("sec-websocket-protocol", "chat, capstan.stream")];
    let socket = WebSocket::try_connect(client.address(), &path(&id, "stdin=0"), &offers).await.unwrap();
    assert!(socket.answer.contains("sec-websocket-protocol: capstan.stream\n"), "{}", socket.answer);
    assert!(!socket.answer.contains("extensions"), "{}", socket.answer);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn cross_origin_page_cannot_attach() {
    let (daemon, client) = serving("cat", guests::run::CAT).await;
    let address = Address::Tcp(daemon.addr());
    let id = submit_waiting_job(&client, "cat").await;
    for (name, value) in [("origin", "http://evil.example"), ("origin", "null"), ("host", "evil.example")] {
        let refused = WebSocket::try_connect(&address, &path(&id, ""), &[(name, value)]).await.unwrap_err();
        assert_eq!(refused.status(), 403, "{name}: {value}");
    }
    let own = format!("http://{}", daemon.addr());
    let mut socket = WebSocket::try_connect(&address, &path(&id, ""), &[("origin", &own)]).await.unwrap();
    socket.send(Message::text("")).await;
    socket.rest().await.0.assert_outcome("exited", 0);
}

/// Returns the code of the Close frame in the bytes that the daemon has sent.
fn close_code(mut sent: &[u8]) -> Option<u16> {
    while let [first, length, rest @ ..] = sent {
        let (length, rest) = match *length {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, &rest[8..]),
            length => (usize::from(length), rest),
        };
        if first & 0x0f == 8 {
            return rest.first_chunk().map(|code| u16::from_be_bytes(*code));
        }
        sent = rest.get(length..)?;
    }
    None
}

/// Builds a client frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap();
    [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4], payload].concat()
}

#[tokio::test]
async fn protocol_violation_closes_the_connection_with_a_code() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let address = Address::Tcp(daemon.addr());
    let before = daemon.peak_memory();
    let too_large = frame(0x82, &vec![b'x'; (256 << 10) + 1]);
    let fragment = vec![b'x'; 100 << 10];
    let fragments = [frame(0x02, &fragment), frame(0x00, &fragment), frame(0x80, &fragment)].concat();
    let short = |first: u8, payload: &[u8]| {
        [&[first, 0x80 | u8::try_from(payload.len()).unwrap()], &[0; 4][..], payload].concat()
    };
    let cases: [(&str, Vec<u8>, u16); 12] = [
        ("not masked", b"\x82\x02hi".to_vec(), 1002),
        ("1 GiB announced", [&b"\x82\xff"[..], &(1_u64 << 30).to_be_bytes(), &[0; 4], b"xxxx"].concat(), 1009),
        ("2^63 bytes announced", [&b"\x82\xff"[..], &(1_u64 << 63).to_be_bytes(), &[0; 4], b"xxxx"].concat(), 1009),
        ("a byte too many", too_large, 1009),
        ("too large in fragments", fragments, 1009),
        ("a ping in fragments", short(0x09, b"ping"), 1002),
        ("a long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("a reserved bit", short(0xc2, b"deflated"), 1002),
        ("a reserved opcode", short(0x83, b"?"), 1002),
        ("a reserved control opcode", short(0x8b, b"?"), 1002),
        ("a continuation of nothing", short(0x80, b"?"), 1002),
        ("text that is not UTF-8", short(0x81, b"\xff\xfe"), 1007),
    ];
    let id = submit_waiting_job(&client, "cat").await;
    for (case, bytes, code) in cases {
        let mut raw = eventually("stdin to accept a client", async || {
            let mut raw = Raw::try_connect(&address).await.unwrap();
            let headers = HANDSHAKE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
            raw.write(&format!("GET {} HTTP/1.1\r\nHost: {{host}}\r\n{headers}\r\n", path(&id, ""))).await;
            (raw.status().await == 101).then_some(raw)
        })
        .await;
        // The daemon may stop reading before everything is sent.
        let _ = raw.try_write(&bytes).await;
        let sent = raw.read_to_end().await;
        assert_eq!(close_code(&sent), Some(code), "{case}: {sent:?}");
    }
    assert!(daemon.peak_memory() - before < 64 << 20, "rejected messages used memory");
    // The job received none of it, and its stdin is still open.
    let mut socket = attach_with_stdin(&address, &id, "logs=1").await;
    socket.send(Message::text("whole")).await;
    socket.send(Message::text("")).await;
    let (framed, _) = socket.rest().await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "whole");
    framed.assert_outcome("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn ping_flood_uses_no_memory() {
    let (mut daemon, client) = serving("cat", guests::run::CAT).await;
    let address = Address::Tcp(daemon.addr());
    let id = submit_waiting_job(&client, "cat").await;
    let before = daemon.peak_memory();
    let mut raw = Raw::try_connect(&address).await.unwrap();
    let headers = HANDSHAKE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    raw.write(&format!("GET {} HTTP/1.1\r\nHost: {{host}}\r\n{headers}\r\n", path(&id, ""))).await;
    assert_eq!(raw.status().await, 101);
    let ping = [&[0x89, 0x80 | 125], &[0; 4][..], &[b'p'; 125]].concat();
    let pings = ping.repeat(8 * 1024);
    for _ in 0..32 {
        if raw.try_write(&pings).await.is_err() {
            break;
        }
    }
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "pings with unread responses used {grown} bytes");
    drop(raw);
    eventually("stdin to accept another client", async || {
        let fed = client.put(&format!("/v1/jobs/{id}/stdin"), "").send().await;
        (fed.status == 204).then_some(())
    })
    .await;
    wait_for_end(&client, &id).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn shutdown_sends_the_outcome_and_closes() {
    let daemon = capstan_tests::Setup::new(crate::CAPSTAN).config("grace = \"200ms\"").start();
    let mut daemon = daemon;
    let client = daemon.client();
    client.push("cat", guests::run::CAT).await;
    let id = submit_waiting_job(&client, "cat").await;
    let mut socket = WebSocket::connect(client.address(), &path(&id, "")).await;
    socket.send(Message::text("there")).await;
    expect_stdout(&mut socket, "there").await;
    daemon.signal(Signal::TERM);
    let (framed, close) = socket.rest().await;
    framed.assert_outcome("cancelled", 137);
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Normal, "cancelled by shutdown"));
    assert_eq!(daemon.wait_exit().await.code(), Some(0));
}
