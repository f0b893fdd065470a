//! `capstan run` through a daemon: streams and the exit code.

use capstan_tests::{Daemon, Setup, eventually, guests};
use serde_json::json;

use crate::{CAPSTAN, command_for, serving};

#[tokio::test]
async fn run_exits_with_the_code_of_the_guest() {
    let daemon = serving("exit", guests::run::EXIT).await;
    for code in [0, 1, 2, 7, 64, 124, 125, 126, 127, 128, 134, 137, 200, 255] {
        let finished = command_for(&daemon).args(["run", "exit", &code.to_string()]).run().await.assert_exit_code(code);
        assert!(finished.stdout.is_empty(), "{finished:?}");
    }
}

#[tokio::test]
async fn run_keeps_stdout_and_stderr_apart() {
    let daemon = serving("both", guests::run::BOTH_STREAMS).await;
    let finished = command_for(&daemon).args(["run", "both"]).run().await.assert_exit_code(3);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("out\n", "err\n"));
}

#[tokio::test]
async fn run_passes_args_and_env() {
    let daemon = serving("show", guests::run::ARGS_AND_ENV).await;
    let run = command_for(&daemon).env("FROM_HERE", "taken along").env("SECRET", "not this");
    let run = run.args(["run", "--env", "A=1", "--env", "B=x y=z", "show", "--top", "3", "--", "-H", ""]);
    let finished = run.run().await.assert_exit_code(0);
    assert_eq!(finished.text(), "show\0--top\x003\0--\0-H\0\0\nA=1\0B=x y=z\0");
}

#[tokio::test]
async fn run_streams_stdin() {
    let daemon = serving("cat", guests::run::CAT).await;
    let mut running = command_for(&daemon).args(["run", "-i", "cat"]).spawn();
    for line in ["one\n", "two\n"] {
        running.feed(line.as_bytes()).await;
        running.read_until(line).await;
    }
    running.close_stdin();
    assert_eq!(running.finish().await.assert_exit_code(0).text(), "one\ntwo\n");
}

#[tokio::test]
async fn run_passes_large_input_unchanged() {
    let daemon = serving("cat", guests::run::CAT).await;
    let input: Vec<u8> = (0..=255).cycle().take(8 << 20).collect();
    let finished = command_for(&daemon).args(["run", "cat"]).stdin(input.clone()).run().await.assert_exit_code(0);
    assert!(finished.stdout == input, "{} bytes came back", finished.stdout.len());
}

#[tokio::test]
async fn guest_that_exits_before_its_stdin_ends_does_not_block_the_command() {
    let daemon = serving("hello", guests::run::HELLO).await;
    let running = command_for(&daemon).args(["run", "-i", "hello"]).spawn();
    // Stdin stays open, and nobody reads it.
    assert_eq!(running.finish().await.assert_exit_code(0).text(), "hello\n");
}

#[tokio::test]
async fn every_other_outcome_has_its_exit_code() {
    let daemon = Setup::new(CAPSTAN).config("[policy]\nstdout = \"64KiB\"").start();
    let client = daemon.client();
    client.push("spin", guests::limits::LOOP_IN_START).await;
    client.push("trap", guests::run::TRAP_UNREACHABLE).await;
    client.push("grow", guests::limits::GROW_MEMORY_THEN_TRAP).await;
    client.push("flood", guests::limits::FLOOD_STDOUT).await;
    stderr_with_code(&daemon, &["run", "--timeout", "200ms", "spin"], 124).await;
    stderr_with_code(&daemon, &["run", "nobody"], 127).await;
    let trapped = stderr_with_code(&daemon, &["run", "trap"], 134).await;
    assert!(trapped.contains("unreachable") && trapped.contains("innermost_culprit"), "{trapped}");
    stderr_with_code(&daemon, &["run", "--memory", "1MiB", "grow"], 137).await;
    stderr_with_code(&daemon, &["run", "flood"], 137).await;
    stderr_with_code(&daemon, &["run", "serveapi"], 125).await;
    stderr_with_code(&daemon, &["run", "--timeout", "soon", "spin"], 125).await;
    stderr_with_code(&daemon, &["run", "--dir", "/tmp::/data", "spin"], 125).await;
}

/// Runs the command, compares the exit code, and returns stderr, which must not be empty.
async fn stderr_with_code(daemon: &Daemon, args: &[&str], code: i32) -> String {
    let finished = command_for(daemon).args(args).run().await.assert_exit_code(code);
    assert!(!finished.stderr.is_empty(), "{args:?} exits with {code} without a message");
    finished.stderr
}

#[tokio::test]
async fn outcome_file_distinguishes_guest_codes_from_limits() {
    let daemon = serving("exit", guests::run::EXIT).await;
    daemon.client().push("spin", guests::limits::LOOP_IN_START).await;
    let finished =
        command_for(&daemon).args(["run", "--outcome", "o.json", "exit", "124"]).run().await.assert_exit_code(124);
    let written: serde_json::Value = serde_json::from_slice(&finished.read("o.json")).unwrap();
    assert_eq!(outcome_in(&written), &json!({"kind": "exited", "code": 124}));

    let finished = command_for(&daemon)
        .args(["run", "--outcome", "o.json", "--timeout", "0.25", "spin"])
        .run()
        .await
        .assert_exit_code(124);
    let written: serde_json::Value = serde_json::from_slice(&finished.read("o.json")).unwrap();
    assert_eq!(outcome_in(&written), &json!({"kind": "timed_out", "limit": 0.25}));
}

/// Returns the outcome, whether the file contains it alone or within the job.
fn outcome_in(written: &serde_json::Value) -> &serde_json::Value {
    written.get("outcome").unwrap_or(written)
}

#[tokio::test]
async fn run_of_a_file_uses_the_named_daemon() {
    let daemon = Daemon::start(CAPSTAN);
    let run = command_for(&daemon).file("hello.wasm", guests::run::HELLO).args(["run", "./hello.wasm"]);
    assert_eq!(run.run().await.assert_exit_code(0).text(), "hello\n");
    let info = daemon.client().get("/v1/info").send().await.json();
    assert!(info["jobs"]["total"].as_u64().unwrap() >= 1, "the daemon ran nothing: {info}");
}

#[tokio::test]
async fn run_fails_if_the_daemon_is_killed() {
    let mut daemon = serving("print", guests::run::PRINT_THEN_EXIT).await;
    let mut running = command_for(&daemon).args(["run", "-i", "print"]).spawn();
    running.read_until("started\n").await;
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait_exit().await;
    let finished = running.finish().await.assert_exit_code(125);
    assert!(!finished.stderr.is_empty());
}

#[tokio::test]
async fn runs_leave_no_running_jobs() {
    let daemon = serving("hello", guests::run::HELLO).await;
    for _ in 0..5 {
        command_for(&daemon).args(["run", "hello"]).run().await.assert_exit_code(0);
    }
    eventually("all jobs to end", async || (daemon.client().running().await == 0).then_some(())).await;
}
