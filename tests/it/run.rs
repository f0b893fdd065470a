//! Runs of well-behaved guests and of guests that trap: arguments, variables, streams and outcomes.

mod limits;
mod sinks;
mod stream;
mod wasi;
mod wasi_versions;

use capstan_tests::{foreach_guest, guests};

use crate::{configured, oracle, serving};

foreach_guest!(run, tested);

#[tokio::test]
async fn draft_hello() {
    let (_daemon, client) = serving("hello", guests::run::DRAFT_HELLO).await;
    let reply = client.run("hello").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
}

#[tokio::test]
async fn hello() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let reply = client.run("hello").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    assert!(reply.header("capstan-job").is_some_and(|id| !id.is_empty()), "{reply:?}");
}

#[tokio::test]
async fn run_works_over_the_unix_socket_and_without_version() {
    let (daemon, _) = serving("hello", guests::run::HELLO).await;
    let reply = daemon.unix_client().post("/handlers/hello/run").header("te", "trailers").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
}

#[tokio::test]
async fn every_run_has_its_own_job_id() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let first = client.run("hello").send().await;
    let second = client.run("hello").send().await;
    assert_ne!(first.header("capstan-job"), second.header("capstan-job"));
}

#[tokio::test]
async fn cat() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let reply = client.run("cat").body("over and\0out\n").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "over and\0out\n");
}

#[tokio::test]
async fn farewell() {
    let (_daemon, client) = serving("farewell", guests::run::FAREWELL).await;
    let reply = client.run("farewell").arg("3").body("ab").send().await;
    reply.assert_outcome("exited", 3);
    assert_eq!(reply.text(), "started\nfarewell\n");
}

#[tokio::test]
async fn run_without_body_has_empty_stdin() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let reply = client.run("cat").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "");
}

#[tokio::test]
async fn exit() {
    let (_daemon, client) = serving("exit", guests::run::EXIT).await;
    for code in [0, 1, 2, 7, 124, 125, 126, 127, 128, 200, 255] {
        let reply = client.run("exit").arg(&code.to_string()).send().await;
        reply.assert_outcome("exited", code);
    }
}

#[tokio::test]
async fn exit_code_over_255_is_reported_as_255() {
    let (mut daemon, client) = serving("exit", guests::run::EXIT).await;
    for code in ["256", "65536", "2147483647", "2147483648", "4294967295"] {
        client.run("exit").arg(code).framed().send().await.frames().assert_outcome("exited", 255);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn exit_in_start_function() {
    let (_daemon, client) = serving("exits", guests::run::EXIT_IN_START_FUNCTION).await;
    client.run("exits").send().await.assert_outcome("exited", 42);
}

#[tokio::test]
async fn args_and_env() {
    let (_daemon, client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let reply = client
        .run("show")
        .arg("a b")
        .arg("")
        .arg("--c=ü&?%")
        .env("ZED", "1")
        .env("ALPHA", "two words")
        .env("ZED", "3=3")
        .env("EMPTY", "")
        .send()
        .await;
    reply.assert_outcome("exited", 0);
    let (args, env) = reply.text().split_once("\0\n").unwrap();
    assert_eq!(args, "show\0a b\0\0--c=ü&?%");
    // The last value wins. The order is tested with the type `Env`.
    let mut env: Vec<_> = env.split_terminator('\0').collect();
    env.sort_unstable();
    assert_eq!(env, ["ALPHA=two words", "EMPTY=", "ZED=3=3"]);
}

#[tokio::test]
async fn host_environment_is_not_inherited() {
    let (_daemon, client) = serving("show", guests::run::ARGS_AND_ENV).await;
    let reply = client.run("show").send().await;
    assert_eq!(reply.text(), "show\0\n");
}

#[tokio::test]
async fn both_streams() {
    let (_daemon, client) = serving("both", guests::run::BOTH_STREAMS).await;
    let reply = client.run("both").send().await;
    reply.assert_outcome("exited", 3);
    assert_eq!(reply.text(), "out\n", "a plain response contains only stdout");

    let framed = client.run("both").framed().send().await.frames();
    framed.assert_outcome("exited", 3);
    assert_eq!((framed.stdout.as_slice(), framed.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}

#[tokio::test]
async fn framed_response_ends_with_outcome_and_usage() {
    let (_daemon, client) = serving("cat", guests::run::CAT).await;
    let reply = client.run("cat").framed().body(vec![b'x'; 100_000]).send().await;
    let framed = reply.frames();
    framed.assert_outcome("exited", 0);
    assert_eq!(framed.stdout.len(), 100_000);
    assert_eq!(framed.last["job"], reply.header("capstan-job").unwrap());
    assert_eq!(framed.last["handler"], "cat");
    assert_eq!(framed.outcome()["code"], 0);
    let usage = &framed.last["usage"];
    assert_eq!(usage["stdin_bytes"], 100_000, "{usage}");
    assert_eq!(usage["stdout_bytes"], 100_000, "{usage}");
    assert_eq!(usage["stderr_bytes"], 0, "{usage}");
    assert!(usage["memory_peak"].as_u64().unwrap() >= 65_536, "{usage}");
    assert!(usage["run_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{usage}");
}

#[tokio::test]
async fn print_one_mebibyte() {
    let (_daemon, client) = serving("much", guests::run::PRINT_ONE_MEBIBYTE).await;
    let reply = client.run("much").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.body.len(), 1 << 20);
    assert!(reply.body.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn print_then_exit() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let reply = client.run("print").arg("7").send().await;
    reply.assert_outcome("exited", 7);
    assert_eq!(reply.text(), "started\nended\n");
}

#[tokio::test]
async fn print_then_trap() {
    let (_daemon, client) = serving("print", guests::run::PRINT_THEN_TRAP).await;
    let reply = client.run("print").send().await;
    reply.assert_outcome("trapped", 134);
    assert_eq!(reply.text(), "started\n", "output before the trap must not be lost");
}

#[tokio::test]
async fn sleep() {
    let (_daemon, client) = serving("sleep", guests::run::SLEEP).await;
    let framed = client.run("sleep").framed().send().await.frames();
    framed.assert_outcome("exited", 0);
    assert_eq!(framed.stdout, b"slept\n");
    assert!(framed.last["usage"]["run_seconds"].as_f64().unwrap() >= 0.05, "{}", framed.last);
}

#[tokio::test]
async fn sleeping_runs_are_concurrent() {
    let (_daemon, client) = serving("sleep", guests::run::SLEEP).await;
    let began = std::time::Instant::now();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..100 {
        runs.spawn(client.run("sleep").send());
    }
    for reply in runs.join_all().await {
        reply.assert_outcome("exited", 0);
    }
    // One after the other they would take 5 s.
    assert!(began.elapsed().as_secs_f64() < 4.0, "100 sleeps of 50 ms took {:?}", began.elapsed());
}

/// Runs a guest that must trap, and returns the trap code.
async fn trap_of(wasm: &[u8], in_message: &str) -> String {
    let (mut daemon, client) = serving("trap", wasm).await;
    let framed = client.run("trap").framed().send().await.frames();
    framed.assert_outcome("trapped", 134);
    let outcome = framed.outcome();
    assert!(outcome["message"].as_str().unwrap().contains(in_message), "{outcome}");
    client.run("trap").send().await.assert_outcome("trapped", 134);
    oracle::still_answers(&mut daemon).await;
    outcome["trap"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn trap_unreachable() {
    let (_daemon, client) = serving("trap", guests::run::TRAP_UNREACHABLE).await;
    let framed = client.run("trap").framed().send().await.frames();
    framed.assert_outcome("trapped", 134);
    assert_eq!(framed.outcome()["trap"], "unreachable");
    let frames: Vec<_> =
        framed.outcome()["backtrace"].as_array().unwrap().iter().map(|frame| frame.as_str().unwrap()).collect();
    assert!(frames[0].contains("innermost_culprit") && frames[1].contains("middle_caller"), "{frames:?}");
}

#[tokio::test]
async fn trap_division() {
    trap_of(guests::run::TRAP_DIVISION, "divide by zero").await;
}

#[tokio::test]
async fn trap_out_of_bounds() {
    trap_of(guests::run::TRAP_OUT_OF_BOUNDS, "out of bounds").await;
}

#[tokio::test]
async fn trap_data_segment() {
    trap_of(guests::run::TRAP_DATA_SEGMENT, "out of bounds").await;
}

#[tokio::test]
async fn trap_stack_overflow() {
    trap_of(guests::run::TRAP_STACK_OVERFLOW, "stack").await;
}

#[tokio::test]
async fn trap_indirect_call_to_null() {
    let null = trap_of(guests::run::TRAP_INDIRECT_CALL_TO_NULL, "uninitialized").await;
    let wrong_type = trap_of(guests::run::TRAP_INDIRECT_CALL_OF_WRONG_TYPE, "type mismatch").await;
    assert_ne!(null, wrong_type, "each kind of trap must have its own code");
}

#[tokio::test]
async fn trap_indirect_call_of_wrong_type() {
    trap_of(guests::run::TRAP_INDIRECT_CALL_OF_WRONG_TYPE, "type mismatch").await;
}

#[tokio::test]
async fn unknown_handler_is_not_found() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let message = client.run("helo").send().await.error(404, "unknown_handler");
    assert!(message.contains("helo"), "{message}");
}

#[tokio::test]
async fn invalid_args_and_env_are_rejected() {
    let (mut daemon, client) = serving("show", guests::run::ARGS_AND_ENV).await;
    client.run("show").arg("a\0b").send().await.error(400, "invalid_arg");
    client.run("show").env("KEY", "a\0b").send().await.error(400, "invalid_env");
    client.run("show").env("K\0Y", "v").send().await.error(400, "invalid_env");
    client.run("show").env("", "v").send().await.error(400, "invalid_env");
    client.run("show").header("capstan-env", "NO_VALUE").send().await.error(400, "invalid_env");
    client.run("show").header("capstan-env", "KEY=%FF").send().await.error(400, "invalid_env");
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn invalid_query_parameters_are_rejected_by_name() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    for (key, value) in [("timeout", "soon"), ("timeout", "-1"), ("memory", "much"), ("memory", "-1")] {
        let message = client.run("hello").query(key, value).send().await.error(400, "bad_request");
        assert!(message.contains(value), "{key}={value}: {message}");
    }
}

#[tokio::test]
async fn full_daemon_responds_with_429_and_retry_after() {
    let (_daemon, client) = configured("[limits]\nruns = 1\nqueue = 0", "print", guests::run::PRINT_THEN_EXIT).await;
    let (call, feed) = client.run("print").streaming_body();
    let first = call.open().await;
    let reply = client.run("print").send().await;
    reply.error(429, "busy");
    let seconds: u64 = reply.header("retry-after").expect("429 has Retry-After").parse().unwrap();
    assert!(seconds > 0);

    drop(feed);
    assert!(!first.finish().await.cut);
    let next = capstan_tests::eventually("a free slot", async || {
        let reply = client.run("print").send().await;
        (reply.status == 200).then_some(reply)
    });
    next.await.assert_outcome("exited", 0);
}
