//! `capstan inspect FILE`: what a program is, without running it; and how programs for other hosts are refused.

use std::fs;

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, command, command_for};

#[tokio::test]
async fn inspect_describes_a_command() {
    let path = guests::compiled_path("probe.p1");
    let finished = command().args(["inspect"]).args([&path]).run().await.assert_exit_code(0);
    let text = finished.text();
    for part in [
        "module, command",
        "wasi_snapshot_preview1  provided",
        "_start()",
        "language Rust",
        "run it with: capstan run ",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let json = command().args(["inspect", "--json"]).args([&path]).run().await.assert_exit_code(0).json();
    assert_eq!((&json["kind"], &json["role"]), (&"module".into(), &"command".into()));
    assert_eq!(json["size"], fs::metadata(&path).unwrap().len());
    assert!(json["sections"]["functions"].as_u64().unwrap() > 10, "{json}");
    assert!(json["refused"].is_null(), "{json}");
}

#[tokio::test]
async fn inspect_shows_wit_and_functions_of_a_component() {
    let path = guests::compiled_path("probe.p2");
    let json = command().args(["inspect", "--json"]).args([&path]).run().await.assert_exit_code(0).json();
    assert_eq!((&json["kind"], &json["role"]), (&"component".into(), &"command".into()));
    let wit = json["wit"]["text"].as_str().unwrap();
    assert!(wit.contains("export wasi:cli/run@0.2"), "{wit}");
    let text = fs::read(guests::root().join("tests/guests/invoke_component.wat")).unwrap();
    let finished = command().args(["inspect", "-"]).stdin(text).run().await.assert_exit_code(0);
    let text = finished.text();
    for part in ["component, library", "acme:lib/text@1.0.0#echo(text: string) -> string", "capstan run --invoke "] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[tokio::test]
async fn inspect_says_why_a_foreign_program_cannot_run() {
    let inspect = command().file("b.wasm", guests::handlers::BROWSER_IMPORTS).args(["inspect", "b.wasm"]);
    let finished = inspect.run().await.assert_exit_code(0);
    assert!(finished.text().contains("cannot run: this is a Rust program for wasm-bindgen"), "{}", finished.text());
    let inspect = command().file("b.wasm", guests::handlers::GC).args(["inspect", "b.wasm", "--json"]);
    assert!(inspect.run().await.assert_exit_code(0).json()["features"].as_array().unwrap().contains(&"gc".into()));
}

#[tokio::test]
async fn inspect_of_no_program_fails() {
    for (content, expected) in
        [(&b"\x7fELF"[..], "precompiled"), (b"", "empty"), (b"(module (nonsense))", "not valid WebAssembly text")]
    {
        let finished =
            command().file("x.wasm", content).args(["inspect", "./x.wasm"]).run().await.assert_exit_code(125);
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
    command().args(["inspect", "./missing.wasm"]).run().await.assert_exit_code(125);
}

#[tokio::test]
async fn foreign_program_is_refused_with_advice_before_it_is_compiled() {
    let go = "(module (import \"gojs\" \"runtime.wasmExit\" (func (param i32))) (func (export \"run\") unreachable))";
    let run = command().file("app.wat", go.as_bytes()).args(["run", "app.wat"]);
    let refused = run.run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("GOOS=wasip1 GOARCH=wasm go build"), "{}", refused.stderr);
    let daemon = Daemon::start(CAPSTAN);
    let push = command_for(&daemon).file("app.wat", go.as_bytes()).args(["push", "app.wat"]);
    let refused = push.run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("GOOS=wasip1 GOARCH=wasm go build"), "{}", refused.stderr);
}

#[tokio::test]
async fn component_that_answers_http_says_so_before_and_after_its_push() {
    let path = guests::compiled_path("web");
    let inspected = command().args(["inspect"]).args([&path]).run().await.assert_exit_code(0);
    let text = inspected.text();
    for part in ["component, http handler", "answers HTTP requests", "/x/NAME/"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let daemon = Daemon::start(CAPSTAN);
    daemon.client().push("web", guests::compiled("web")).await;
    let list = command_for(&daemon).args(["handlers"]).run().await.assert_exit_code(0);
    assert!(
        list.text().lines().any(|line| line.starts_with("web ") && line.contains("component, http")),
        "{}",
        list.text()
    );
    let handler =
        command_for(&daemon).args(["handlers", "inspect", "--json", "web"]).run().await.assert_exit_code(0).json();
    assert_eq!(handler["http"], true, "{handler}");
    assert_eq!(daemon.client().get("/x/web/hello").send().await.text(), "hello\n");
}
