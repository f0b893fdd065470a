//! `capstan run --invoke`: functions of libraries, in process and through a daemon.

use std::fs;

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, command, command_for};

#[tokio::test]
async fn run_invokes_functions_in_process() {
    let run = |call: &str, args: &[&str]| {
        let run = command().file("lib.wasm", guests::invoke::LIBRARY).args(["run", "--invoke", call, "lib.wasm"]);
        run.args(args).run()
    };
    let finished = run("add(40, 2)", &[]).await.assert_exit_code(0);
    assert_eq!((finished.text(), finished.stderr.as_str()), ("42\n", ""));
    assert_eq!(run("add", &["20", "1"]).await.assert_exit_code(0).text(), "21\n");
    assert_eq!(run("print(7)", &[]).await.assert_exit_code(0).text(), "out\n7\n");
    run("exit(3)", &[]).await.assert_exit_code(3);
    run("divide(1, 0)", &[]).await.assert_exit_code(134);
    let refused = run("ad(1, 2)", &[]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("did you mean `add`?"), "{}", refused.stderr);
}

#[tokio::test]
async fn run_of_library_without_invoke_names_its_functions() {
    let run = command().file("lib.wasm", guests::invoke::REACTOR).args(["run", "lib.wasm"]);
    let refused = run.run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("--invoke") && refused.stderr.contains("`next() -> i32`"), "{}", refused.stderr);
}

#[tokio::test]
async fn run_invokes_function_of_component_in_text_format() {
    let text = fs::read(guests::root().join("tests/guests/invoke_component.wat")).unwrap();
    let run = command().file("lib.wat", &text).args(["run", "--invoke", "text.echo(\"hi ü\")", "lib.wat"]);
    assert_eq!(run.run().await.assert_exit_code(0).text(), "\"hi ü\"\n");
}

#[tokio::test]
async fn run_invokes_functions_through_a_daemon() {
    let daemon = Daemon::start(CAPSTAN);
    let pushed = command_for(&daemon).file("lib.wasm", guests::invoke::LIBRARY).args(["push", "lib.wasm"]);
    pushed.run().await.assert_exit_code(0);
    let listed = command_for(&daemon).args(["handlers"]).run().await.assert_exit_code(0);
    assert!(listed.text().contains("module, library"), "{}", listed.text());
    let run = |words: &[&str]| command_for(&daemon).args(["run"]).args(words).run();
    assert_eq!(run(&["--invoke", "add(1, 2)", "lib"]).await.assert_exit_code(0).text(), "3\n");
    assert_eq!(run(&["--invoke", "add", "lib", "1", "4"]).await.assert_exit_code(0).text(), "5\n");
    let refused = run(&["lib"]).await.assert_exit_code(125);
    assert!(refused.stderr.contains("`add(i32, i32) -> i32`"), "{}", refused.stderr);
    let detached = run(&["-d", "--invoke", "add(1, 2)", "lib"]).await.assert_exit_code(125);
    assert!(detached.stderr.contains("--invoke"), "{}", detached.stderr);
}
