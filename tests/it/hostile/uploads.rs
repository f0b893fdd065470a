//! Malicious uploads: bombs, malformed sections and forgeries. Each is rejected with its own code or compiled within its budget. A rejected
//! upload leaves nothing behind.

use capstan_tests::bombs::{self, Bomb};
use capstan_tests::{Client, Daemon, Raw, Setup, eventually, guests};
use rustix::process::{Signal, kill_process};
use tokio::task::JoinSet;

use crate::handlers::persistence::files;
use crate::oracle::Oracle;
use crate::{CAPSTAN, serving};

/// Pushes an invalid program and checks that the handler does not exist afterwards. Returns the error message.
async fn rejection_of(client: &Client, wasm: Vec<u8>, code: &str) -> String {
    let message = client.put("/v1/handlers/bad", wasm).send().await.error(422, code);
    client.get("/v1/handlers/bad").send().await.error(404, "unknown_handler");
    message
}

/// Returns the bombs that are rejected, or those that compile.
fn bombs(with_code: bool) -> impl Iterator<Item = Bomb> {
    bombs::all().into_iter().filter(move |bomb| bomb.code.is_some() == with_code)
}

/// The benchmark `bombs` measures the costs with default limits. Here the limits are lower to keep the test short.
#[tokio::test]
async fn bombs_are_rejected() {
    let mut daemon = Setup::new(CAPSTAN).config("[compile]\ntimeout = \"1s\"\nmemory = \"256MiB\"").start();
    let client = daemon.client();
    let oracle = Oracle::before(&mut daemon).await;
    for Bomb { name, wasm, code } in bombs(true) {
        let reply = client.put("/v1/handlers/bad", wasm).send().await;
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (422, code), "{name}: {reply:?}");
        client.get("/v1/handlers/bad").send().await.error(404, "unknown_handler");
    }
    assert_eq!(files(&daemon, "programs").len(), 1, "only the program of the oracle may be stored");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn large_but_valid_programs_compile_and_run() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let oracle = Oracle::before(&mut daemon).await;
    for Bomb { name, wasm, .. } in bombs(false) {
        let pushed = client.put("/v1/handlers/large", wasm).send().await;
        assert!(matches!(pushed.status, 200 | 201), "{name}: {pushed:?}");
        let framed = client.run("large").framed().send().await.frames();
        let is_deep = framed.outcome()["trap"] == "stack_overflow";
        assert!(framed.kind() == "exited" || is_deep, "{name}: {}", framed.last);
    }
    client.delete("/v1/handlers/large").send().await;
    assert_eq!(files(&daemon, "programs").len(), 1, "only the program of the oracle may be stored");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn malformed_sections_are_rejected() {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let oracle = Oracle::before(&mut daemon).await;
    let modules = [
        ("a section of 4 GiB", &b"\x01\xff\xff\xff\xff\x0f"[..]),
        ("a size of more than 32 bits", b"\x01\xff\xff\xff\xff\x7f\0"),
        ("a size without an end", b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0"),
        ("a section longer than the file", b"\x01\x05\x01\x60\0\0"),
        ("a section shorter than its content", b"\x01\x03\x01\x60\0\0"),
        ("a section longer than its content", b"\x01\x05\x01\x60\0\0\0"),
        ("a duplicate section", b"\x01\x04\x01\x60\0\0\x01\x04\x01\x60\0\0"),
        ("sections in the wrong order", b"\x05\x03\x01\0\x01\x01\x04\x01\x60\0\0"),
        ("a section with an unknown number", b"\x4d\x01\0"),
        ("four billion types in one byte", b"\x01\x05\xff\xff\xff\xff\x0f"),
        ("four billion functions", b"\x01\x04\x01\x60\0\0\x03\x05\xff\xff\xff\xff\x0f"),
        ("a function without a body", b"\x01\x04\x01\x60\0\0\x03\x02\x01\0"),
        ("a body without a function", b"\x0a\x04\x01\x02\0\x0b"),
        ("a function with an unknown type", b"\x01\x04\x01\x60\0\0\x03\x02\x01\x07\x0a\x04\x01\x02\0\x0b"),
        ("a body longer than its section", b"\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x7f\0\x0b"),
        ("four billion locals", b"\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b"),
        ("a custom section whose name is longer than itself", b"\0\x02\x09x"),
        (
            "a name that is not UTF-8",
            b"\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x06\x01\x02\xff\xfe\0\0\x0a\x04\x01\x02\0\x0b",
        ),
        ("an export of an unknown item", b"\x07\x05\x01\x01x\0\x09"),
    ];
    let components = [
        ("a module that claims to be longer than its section", &b"\x01\x34\0asm\x01\0\0\0\x01\x04\x01\x60\0\0"[..]),
        ("a component that claims to be longer than its section", b"\x04\x34\0asm\x0d\0\x01\0"),
    ];
    let modules = modules.map(|(what, sections)| (what, [b"\0asm\x01\0\0\0", sections].concat()));
    let components = components.map(|(what, sections)| (what, [b"\0asm\x0d\0\x01\0", sections].concat()));
    for (what, wasm) in modules.into_iter().chain(components) {
        let message = rejection_of(&client, wasm, "invalid_module").await;
        assert!(message.contains("at byte 0x"), "{what}: {message}");
    }
    client.get("/v1/handlers/bad").send().await.error(404, "unknown_handler");
    assert_eq!(files(&daemon, "programs").len(), 1, "both handlers share one program");
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn compressed_uploads_are_not_unpacked() {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let oracle = Oracle::before(&mut daemon).await;
    // A gzip header of ten bytes and an empty body.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec();
    for coding in ["gzip", "br", "zstd", "deflate"] {
        let call = client.put("/v1/handlers/bad", gzip.clone()).header("content-encoding", coding);
        call.send_until_cut().await.error(415, "unsupported_encoding");
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn body_longer_than_its_length_is_not_parsed_as_a_request() {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let oracle = Oracle::before(&mut daemon).await;
    let smuggled = "PUT /v1/handlers/smuggled HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n";
    for rest in [&guests::run::CAT[20..], b"\0\r\n\r\n", b"\x0b\r\n"] {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("PUT /v1/handlers/bad HTTP/1.1\r\nHost: {host}\r\nContent-Length: 20\r\n\r\n").await;
        // The daemon may already have closed the connection.
        let _ = connection.try_write(&[&guests::run::CAT[..20], rest, smuggled.as_bytes()].concat()).await;
        let answers = String::from_utf8_lossy(&connection.read_to_end().await).into_owned();
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert!(matches!(statuses[..], ["422"] | ["422", "400"]), "{rest:?}: {answers}");
    }
    for name in ["bad", "smuggled"] {
        client.get(&format!("/v1/handlers/{name}")).send().await.error(404, "unknown_handler");
    }
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn killed_compiler_is_reported_as_unavailable() {
    let mut daemon = Setup::new(CAPSTAN).config("[compile]\ntimeout = \"10m\"").start();
    let client = daemon.client();
    let oracle = Oracle::before(&mut daemon).await;
    // As many as compile concurrently. Each would take minutes.
    let mut pushes = JoinSet::new();
    for number in 0..2 {
        pushes.spawn(client.put(&format!("/v1/handlers/slow{number}"), bombs::locals(50_000 + number)).send());
    }
    let children = eventually("two compilers", async || {
        let children = daemon.children();
        (children.len() == 2).then_some(children)
    })
    .await;
    for child in children {
        kill_process(child, Signal::KILL).unwrap();
    }
    for reply in pushes.join_all().await {
        let message = reply.error(503, "compile_unavailable");
        assert!(message.contains("signal: 9"), "{message}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    // Both compiler slots are free again.
    client.push("fresh", guests::run::CAT).await;
    oracle.after(&mut daemon).await;
}

#[tokio::test]
async fn control_characters_in_a_program_are_escaped() {
    let (mut daemon, client) = serving("steady", guests::run::HELLO).await;
    let oracle = Oracle::before(&mut daemon).await;
    let import = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x01\x05\x1b[2J\n\x03\x0d\n-\0\0".to_vec();
    let message = rejection_of(&client, import, "unknown_import").await;
    assert!(message.contains("[2J") && !message.contains(char::is_control), "{message:?}");
    let log = daemon.log();
    assert!(!log.contains(|character: char| character.is_control() && character != '\n'), "{log:?}");
    oracle.after(&mut daemon).await;
}
