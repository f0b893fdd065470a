//! `capstan run FILE` in process, with the same sandbox as the daemon.

use std::fs;

use capstan_tests::guests;
use serde_json::json;

use crate::command;

#[tokio::test]
async fn run_executes_a_file_without_a_daemon() {
    let finished =
        command().file("hello.wasm", guests::run::HELLO).args(["run", "hello.wasm"]).run().await.assert_exit_code(0);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("hello\n", ""));
}

#[tokio::test]
async fn run_executes_a_file_in_text_format() {
    let text = fs::read(guests::root().join("tests/guests/run_hello.wat")).unwrap();
    let finished = command().file("hello.wat", &text).args(["run", "hello.wat"]).run().await.assert_exit_code(0);
    assert_eq!(finished.text(), "hello\n");
}

#[tokio::test]
async fn run_executes_modules_and_components_of_a_toolchain() {
    for probe in ["probe.p1", "probe.p2"] {
        let path = guests::compiled_path(probe);
        let finished = command().args(["run"]).args([&path]).args(["args", "a b"]).run().await.assert_exit_code(0);
        assert_eq!(finished.text(), "\"a b\"\n");
        let finished =
            command().args(["run"]).args([&path]).args(["cat"]).stdin("through").run().await.assert_exit_code(0);
        assert_eq!(finished.text(), "through");
    }
}

#[tokio::test]
async fn run_exits_with_the_code_of_the_guest() {
    for code in [0, 1, 7, 126, 255] {
        let run = command().file("exit.wasm", guests::run::EXIT).args(["run", "exit.wasm", &code.to_string()]);
        run.run().await.assert_exit_code(code);
    }
}

#[tokio::test]
async fn run_passes_streams_args_and_env() {
    let finished = command()
        .file("both.wasm", guests::run::BOTH_STREAMS)
        .args(["run", "both.wasm"])
        .run()
        .await
        .assert_exit_code(3);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("out\n", "err\n"));
    let run = command().env("SECRET", "not this").file("show.wasm", guests::run::ARGS_AND_ENV);
    let finished = run.args(["run", "--env", "A=1", "show.wasm", "x", "--env", "y"]).run().await.assert_exit_code(0);
    let (args, env) = finished.text().split_once("\0\n").unwrap();
    assert!(args.ends_with("\0x\0--env\0y"), "{args:?}");
    assert_eq!(env, "A=1\0");
}

#[tokio::test]
async fn run_of_composed_components_has_a_memory_for_each() {
    let run = command().file("chain.wasm", guests::composed::CHAIN).args(["run", "chain.wasm"]);
    run.run().await.assert_exit_code(0);
}

#[tokio::test]
async fn run_streams_stdin() {
    let mut running = command().file("cat.wasm", guests::run::CAT).args(["run", "-i", "cat.wasm"]).spawn();
    running.feed(b"one\n").await;
    running.read_until("one\n").await;
    running.feed(b"two\n").await;
    running.read_until("two\n").await;
    running.close_stdin();
    assert_eq!(running.finish().await.assert_exit_code(0).text(), "one\ntwo\n");
}

#[tokio::test]
async fn run_enforces_limits() {
    let run = |wasm, args: &[&str]| command().file("x.wasm", wasm).args(["run"]).args(args).args(["x.wasm"]).run();
    run(guests::limits::LOOP_IN_START, &["--timeout", "200ms"]).await.assert_exit_code(124);
    run(guests::limits::SLEEP_FOR_EVER, &["--timeout", "200ms"]).await.assert_exit_code(124);
    run(guests::limits::GROW_MEMORY_THEN_TRAP, &["--memory", "1MiB"]).await.assert_exit_code(137);
    let trapped = run(guests::run::TRAP_UNREACHABLE, &[]).await.assert_exit_code(134);
    assert!(trapped.stderr.contains("unreachable") && trapped.stderr.contains("innermost_culprit"), "{trapped:?}");
}

#[tokio::test]
async fn run_of_an_invalid_file_reports_the_reason() {
    let refused = command().file("x.wasm", b"not wasm").args(["run", "x.wasm"]).run().await.assert_exit_code(125);
    assert!(!refused.stderr.is_empty());
    let refused = command()
        .file("x.wasm", guests::handlers::BROWSER_IMPORTS)
        .args(["run", "x.wasm"])
        .run()
        .await
        .assert_exit_code(125);
    assert!(refused.stderr.contains("wbg"), "{refused:?}");
    let missing = command().args(["run", "./nowhere.wasm"]).run().await.assert_exit_code(125);
    assert!(missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[tokio::test]
async fn run_writes_the_outcome_to_a_file() {
    let run = command().file("exit.wasm", guests::run::EXIT).args(["run", "--outcome", "o.json", "exit.wasm", "134"]);
    let finished = run.run().await.assert_exit_code(134);
    let written: serde_json::Value = serde_json::from_slice(&finished.read("o.json")).unwrap();
    assert_eq!(written.get("outcome").unwrap_or(&written), &json!({"kind": "exited", "code": 134}));
}
