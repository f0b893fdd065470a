//! Limits on uploads: size, complexity, compile time and memory, and uploads that are cut off.

use std::time::{Duration, Instant};

use capstan_tests::{Daemon, Raw, Setup, bombs, guests, modules};

use crate::{CAPSTAN, oracle};

const LIMIT: usize = 64 << 10;

fn daemon_with_limit() -> Daemon {
    Setup::new(CAPSTAN).config("[compile]\nupload = \"64KiB\"").start()
}

#[tokio::test]
async fn upload_of_exactly_the_limit_is_accepted() {
    let daemon = daemon_with_limit();
    daemon.client().push("hello", modules::padded(guests::run::HELLO, LIMIT)).await;
    assert_eq!(daemon.client().run("hello").send().await.text(), "hello\n");
}

#[tokio::test]
async fn upload_over_the_limit_is_rejected_before_the_body_is_sent() {
    let mut daemon = daemon_with_limit();
    let mut connection = Raw::connect(&daemon).await;
    // The body is not sent: the declared length is enough to reject the upload.
    let length = LIMIT + 1;
    connection
        .write(&format!("PUT /v1/handlers/big HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {length}\r\n\r\n"))
        .await;
    let answer = String::from_utf8(connection.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"too_large\""), "{answer}");
    daemon.client().get("/v1/handlers/big").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn chunked_upload_over_the_limit_is_rejected() {
    let mut daemon = daemon_with_limit();
    let mut connection = Raw::connect(&daemon).await;
    connection.write("PUT /v1/handlers/big HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = [b"1000\r\n".as_slice(), &[0; 0x1000], b"\r\n"].concat();
    let mut sent = 0;
    while connection.try_write(&chunk).await.is_ok() {
        sent += 0x1000;
        // The kernel buffers part of the body. A daemon that reads this much does not enforce the limit.
        if sent == 2 * LIMIT {
            break;
        }
    }
    assert_eq!(connection.status().await, 413);
    daemon.client().get("/v1/handlers/big").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn upload_cut_off_halfway_changes_nothing() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    client.push("steady", guests::run::HELLO).await;
    let digest = client.get("/v1/handlers/steady").send().await.json()["digest"].clone();
    let whole = guests::run::CAT;
    for encoding in [format!("Content-Length: {}", whole.len()), "Transfer-Encoding: chunked".to_owned()] {
        for name in ["steady", "fresh"] {
            let mut connection = Raw::connect(&daemon).await;
            connection
                .write(&format!("PUT /v1/handlers/{name} HTTP/1.1\r\nHost: {{host}}\r\n{encoding}\r\n\r\n"))
                .await;
            if encoding.contains("chunked") {
                connection.write(&format!("{:x}\r\n", whole.len())).await;
            }
            connection.try_write(&whole[..whole.len() / 2]).await.unwrap();
            connection.half_close().await;
            let answer = connection.read_to_end().await;
            assert!(
                !answer.starts_with(b"HTTP/1.1 2"),
                "half a program was accepted: {}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    assert_eq!(client.get("/v1/handlers/steady").send().await.json()["digest"], digest);
    client.get("/v1/handlers/fresh").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
}

/// Pushes an invalid program while the daemon must continue to serve other requests. Returns the error message.
async fn rejected_while_others_are_served(config: &str, wasm: Vec<u8>, code: &str) -> String {
    let mut daemon = Setup::new(CAPSTAN).config(config).start();
    let client = daemon.client();
    client.push("hello", guests::run::HELLO).await;
    let push = tokio::spawn(client.put("/v1/handlers/bad", wasm).send());
    let mut slowest = Duration::ZERO;
    while !push.is_finished() {
        let began = Instant::now();
        client.run("hello").send().await.assert_outcome("exited", 0);
        slowest = slowest.max(began.elapsed());
    }
    let message = push.await.unwrap().error(422, code);
    assert!(slowest < Duration::from_secs(1), "a run took {slowest:?} while another program was compiled");
    client.get("/v1/handlers/bad").send().await.error(404, "unknown_handler");
    oracle::still_answers(&mut daemon).await;
    message
}

#[tokio::test]
async fn program_over_the_compile_time_limit_is_rejected() {
    let wasm = bombs::locals(20_000);
    let message = rejected_while_others_are_served("[compile]\ntimeout = \"1s\"", wasm, "compile_limit").await;
    assert!(message.contains("1 s of CPU time") && message.contains("timeout under [compile]"), "{message}");
}

#[tokio::test]
async fn program_over_the_compile_memory_limit_is_rejected() {
    let wasm = modules::slow_to_compile(1, 349_000);
    let message = rejected_while_others_are_served("[compile]\nmemory = \"256MiB\"", wasm, "compile_limit").await;
    assert!(message.contains("268435456 bytes of memory") && message.contains("--compile-memory"), "{message}");
}

#[tokio::test]
async fn program_with_too_many_functions_is_rejected_before_compilation() {
    let wasm = modules::many_functions(1_000_000);
    let message = rejected_while_others_are_served("", wasm, "module_too_complex").await;
    assert!(message.contains("function"), "{message}");
}

#[tokio::test]
async fn program_with_one_huge_function_is_rejected_before_compilation() {
    let wasm = modules::slow_to_compile(1, 400_000);
    let message = rejected_while_others_are_served("", wasm, "module_too_complex").await;
    assert!(message.contains("function"), "{message}");
}

#[tokio::test]
async fn client_that_disconnects_during_compilation_changes_nothing() {
    let mut daemon = Setup::new(CAPSTAN).config("[compile]\ntimeout = \"2s\"").start();
    let wasm = modules::slow_to_compile(4, 300_000);
    let mut connection = Raw::connect(&daemon).await;
    connection
        .write(&format!("PUT /v1/handlers/slow HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {}\r\n\r\n", wasm.len()))
        .await;
    connection.try_write(&wasm).await.unwrap();
    drop(connection);
    oracle::still_answers(&mut daemon).await;
    daemon.client().get("/v1/handlers/slow").send().await.error(404, "unknown_handler");
}

#[tokio::test]
async fn daemon_with_a_higher_nice_value_than_its_compiler_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let wrapper = folder.path().join("capstan");
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec nice -n 15 {CAPSTAN} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = Setup::new(wrapper.to_str().unwrap()).start();
    daemon.client().push("hello", guests::run::HELLO).await;
    daemon.client().run("hello").send().await.assert_outcome("exited", 0);
}
