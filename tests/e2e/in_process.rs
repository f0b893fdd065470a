//! `capstan run FILE`: the same sandbox without a daemon.

use std::fs;

use capstan_tests::guests;
use serde_json::json;

use crate::alone;

#[tokio::test]
async fn a_file_is_run_without_a_daemon() {
    let finished = alone().file("hello.wasm", guests::run::HELLO).args(["run", "hello.wasm"]).run().await.exited(0);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("hello\n", ""));
}

#[tokio::test]
async fn a_file_in_text_format_is_run_as_well() {
    let text = fs::read(guests::root().join("tests/guests/run_hello.wat")).unwrap();
    let finished = alone().file("hello.wat", &text).args(["run", "hello.wat"]).run().await.exited(0);
    assert_eq!(finished.text(), "hello\n");
}

#[tokio::test]
async fn modules_and_components_of_a_toolchain_run() {
    for probe in ["probe.p1", "probe.p2"] {
        let path = guests::compiled_path(probe);
        let finished = alone().args(["run"]).args([&path]).args(["args", "a b"]).run().await.exited(0);
        assert_eq!(finished.text(), "\"a b\"\n");
        let finished = alone().args(["run"]).args([&path]).args(["cat"]).stdin("through").run().await.exited(0);
        assert_eq!(finished.text(), "through");
    }
}

#[tokio::test]
async fn exit_codes_are_the_guests_own() {
    for code in [0, 1, 7, 126, 255] {
        let run = alone().file("exit.wasm", guests::run::EXIT).args(["run", "exit.wasm", &code.to_string()]);
        run.run().await.exited(code);
    }
}

#[tokio::test]
async fn streams_args_and_env_pass_through() {
    let finished =
        alone().file("both.wasm", guests::run::BOTH_STREAMS).args(["run", "both.wasm"]).run().await.exited(3);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("out\n", "err\n"));
    let run = alone().env("SECRET", "not this").file("show.wasm", guests::run::ARGS_AND_ENV);
    let finished = run.args(["run", "--env", "A=1", "show.wasm", "x", "--env", "y"]).run().await.exited(0);
    let (args, env) = finished.text().split_once("\0\n").unwrap();
    assert!(args.ends_with("\0x\0--env\0y"), "{args:?}");
    assert_eq!(env, "A=1\0");
}

#[tokio::test]
async fn stdin_is_streamed() {
    let mut running = alone().file("cat.wasm", guests::run::CAT).args(["run", "cat.wasm"]).spawn();
    running.feed(b"one\n").await;
    running.read_until("one\n").await;
    running.feed(b"two\n").await;
    running.read_until("two\n").await;
    running.close_stdin();
    assert_eq!(running.finish().await.exited(0).text(), "one\ntwo\n");
}

#[tokio::test]
async fn limits_hold_without_a_daemon_too() {
    let run = |wasm, args: &[&str]| alone().file("x.wasm", wasm).args(["run"]).args(args).args(["x.wasm"]).run();
    run(guests::limits::LOOP_IN_START, &["--timeout", "200ms"]).await.exited(124);
    run(guests::limits::SLEEP_FOR_EVER, &["--timeout", "200ms"]).await.exited(124);
    run(guests::limits::GROW_MEMORY_THEN_TRAP, &["--memory", "1MiB"]).await.exited(137);
    let trapped = run(guests::run::TRAP_UNREACHABLE, &[]).await.exited(134);
    assert!(trapped.stderr.contains("unreachable") && trapped.stderr.contains("innermost_culprit"), "{trapped:?}");
}

#[tokio::test]
async fn what_cannot_be_run_is_told_with_why() {
    let refused = alone().file("x.wasm", b"not wasm").args(["run", "x.wasm"]).run().await.exited(125);
    assert!(!refused.stderr.is_empty());
    let refused =
        alone().file("x.wasm", guests::handlers::BROWSER_IMPORTS).args(["run", "x.wasm"]).run().await.exited(125);
    assert!(refused.stderr.contains("wbg"), "{refused:?}");
    let missing = alone().args(["run", "./nowhere.wasm"]).run().await.exited(125);
    assert!(missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[tokio::test]
async fn the_outcome_is_written_to_a_file() {
    let run = alone().file("exit.wasm", guests::run::EXIT).args(["run", "--outcome", "o.json", "exit.wasm", "134"]);
    let finished = run.run().await.exited(134);
    let written: serde_json::Value = serde_json::from_slice(&finished.read("o.json")).unwrap();
    assert_eq!(written.get("outcome").unwrap_or(&written), &json!({"kind": "exited", "code": 134}));
}
