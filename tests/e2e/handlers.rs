//! The subcommands that push handlers, and that show handlers, versions and the state of the daemon.

use std::fs;

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, command, command_for, serving};

#[tokio::test]
async fn push_uses_file_name_or_given_name() {
    let daemon = Daemon::start(CAPSTAN);
    command_for(&daemon)
        .file("hello.wasm", guests::run::HELLO)
        .args(["push", "hello.wasm"])
        .run()
        .await
        .assert_exit_code(0);
    command_for(&daemon)
        .file("x.wasm", guests::run::HELLO)
        .args(["push", "greet=x.wasm"])
        .run()
        .await
        .assert_exit_code(0);
    for name in ["hello", "greet"] {
        let finished = command_for(&daemon).args(["run", name]).run().await.assert_exit_code(0);
        assert_eq!(finished.text(), "hello\n");
    }
}

#[tokio::test]
async fn push_compiles_text_format() {
    let daemon = Daemon::start(CAPSTAN);
    let text = fs::read(guests::root().join("tests/guests/run_hello.wat")).unwrap();
    command_for(&daemon).file("hi.wat", &text).args(["push", "hi.wat"]).run().await.assert_exit_code(0);
    assert_eq!(command_for(&daemon).args(["run", "hi"]).run().await.assert_exit_code(0).text(), "hello\n");

    let broken = command_for(&daemon)
        .file("bad.wat", b"(module (func $f (call $g)))")
        .args(["push", "bad.wat"])
        .run()
        .await
        .assert_exit_code(125);
    assert!(broken.stderr.contains("$g"), "{broken:?}");
}

#[tokio::test]
async fn push_sends_manifest_with_program() {
    let daemon = Daemon::start(CAPSTAN);
    let manifest = b"name = \"greeter\"\ndescription = \"Greets\"\n[policy]\ntimeout = \"9s\"\n";
    let push = command_for(&daemon).file("x.wasm", guests::run::HELLO).file("job.toml", manifest);
    push.args(["push", "x.wasm", "--manifest", "job.toml"]).run().await.assert_exit_code(0);
    let shown = command_for(&daemon).args(["handlers", "inspect", "greeter", "--json"]).run().await.assert_exit_code(0);
    assert_eq!(shown.json()["description"], "Greets");

    let push = command_for(&daemon).file("x.wasm", guests::run::HELLO).file("job.toml", b"colour = 1");
    let refused = push.args(["push", "x.wasm", "--manifest", "job.toml"]).run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("colour"), "{refused:?}");
}

#[tokio::test]
async fn first_party_jobs_can_be_pushed_with_their_manifests() {
    let daemon = Daemon::start(CAPSTAN);
    for job in ["wordcount", "csv2json", "thumbnail"] {
        let program = guests::compiled_path(job);
        let manifest = guests::root().join("jobs").join(job).join("job.toml");
        let push = command_for(&daemon).args(["push"]).args([&program]).args(["--manifest"]).args([&manifest]);
        push.run().await.assert_exit_code(0);
        let shown = command_for(&daemon).args(["handlers", "inspect", job, "--json"]).run().await.assert_exit_code(0);
        assert!(shown.json()["description"].as_str().is_some_and(|text| !text.is_empty()), "{shown:?}");
    }
    let lock = fs::read(guests::root().join("Cargo.lock")).unwrap();
    let counted = command_for(&daemon)
        .args(["run", "wordcount", "--top", "1"])
        .stdin(lock.clone())
        .run()
        .await
        .assert_exit_code(0);
    assert_eq!(counted.json()["bytes"], lock.len());
}

#[tokio::test]
async fn push_of_invalid_program_reports_reason() {
    let daemon = Daemon::start(CAPSTAN);
    let refused =
        command_for(&daemon).file("x.wasm", b"not wasm").args(["push", "x.wasm"]).run().await.assert_exit_code(125);
    assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{refused:?}");
    let refused = command_for(&daemon)
        .file("x.wasm", guests::handlers::BROWSER_IMPORTS)
        .args(["push", "x.wasm"])
        .run()
        .await
        .assert_exit_code(125);
    assert!(refused.stderr.contains("wbg"), "{refused:?}");
    let missing = command_for(&daemon).args(["push", "nowhere.wasm"]).run().await.assert_exit_code(125);
    assert!(missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[tokio::test]
async fn handlers_subcommands_list_inspect_and_remove() {
    let daemon = serving("hello", guests::run::HELLO).await;
    for list in [&["handlers"] as &[&str], &["handlers", "ls"]] {
        let listed = command_for(&daemon).args(list).run().await.assert_exit_code(0);
        assert!(listed.text().lines().any(|line| line.contains("hello") && line.contains("module")), "{listed:?}");
    }
    let json = command_for(&daemon).args(["handlers", "--json"]).run().await.assert_exit_code(0).json();
    let listed = json
        .as_array()
        .or_else(|| json["handlers"].as_array())
        .unwrap_or_else(|| panic!("no list of handlers in {json}"));
    assert!(listed.iter().any(|handler| handler["name"] == "hello"), "{json}");

    let shown = command_for(&daemon).args(["handlers", "inspect", "hello", "--json"]).run().await.assert_exit_code(0);
    assert_eq!(shown.json()["size"], guests::run::HELLO.len());
    command_for(&daemon).args(["handlers", "rm", "hello"]).run().await.assert_exit_code(0);
    command_for(&daemon).args(["handlers", "inspect", "hello"]).run().await.assert_exit_code(127);
    command_for(&daemon).args(["handlers", "rm", "hello"]).run().await.assert_exit_code(127);
    let builtin = command_for(&daemon).args(["handlers", "rm", "version"]).run().await.assert_exit_code(125);
    assert!(builtin.stderr.contains("version"), "{builtin:?}");
}

#[tokio::test]
async fn version_and_info_print_the_version_and_state() {
    let daemon = Daemon::start(CAPSTAN);
    let info = command_for(&daemon).args(["info", "--json"]).run().await.assert_exit_code(0);
    assert_eq!(info.json()["state"], "running");
    assert!(command_for(&daemon).args(["info"]).run().await.assert_exit_code(0).text().contains("running"));
    let version = command_for(&daemon).args(["version", "--json"]).run().await.assert_exit_code(0);
    assert!(version.text().contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    assert!(
        command_for(&daemon)
            .args(["version"])
            .run()
            .await
            .assert_exit_code(0)
            .text()
            .contains(env!("CARGO_PKG_VERSION"))
    );
    assert!(command().args(["--version"]).run().await.assert_exit_code(0).text().contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn daemon_address_is_taken_from_flag_or_variable() {
    let daemon = Daemon::start(CAPSTAN);
    let unix = format!("unix://{}", daemon.unix().display());
    let tcp = format!("tcp://{}", daemon.addr());
    for host in [unix.as_str(), tcp.as_str()] {
        command().args(["-H", host, "info"]).run().await.assert_exit_code(0);
        command().args(["info", "-H", host]).run().await.assert_exit_code(0);
        command().env("CAPSTAN_HOST", host).args(["info"]).run().await.assert_exit_code(0);
    }
    // The flag overrides the variable.
    command().env("CAPSTAN_HOST", "tcp://127.0.0.1:1").args(["-H", &unix, "info"]).run().await.assert_exit_code(0);
}

#[tokio::test]
async fn unreachable_daemon_is_reported_with_its_address() {
    for (host, named) in [("tcp://127.0.0.1:1", "127.0.0.1:1"), ("unix:///nowhere/x.sock", "/nowhere/x.sock")] {
        let finished = command().args(["-H", host, "info"]).run().await.assert_exit_code(125);
        assert!(finished.stderr.contains(named), "{finished:?}");
        command().args(["-H", host, "run", "hello"]).run().await.assert_exit_code(125);
    }
}

#[tokio::test]
async fn wrong_usage_exits_with_125() {
    for args in [&["nonsense"] as &[&str], &["run"], &["push"], &["info", "--colour"], &["-H", "nonsense", "info"], &[]]
    {
        let finished = command().args(args).run().await.assert_exit_code(125);
        assert!(!finished.stderr.is_empty(), "{args:?}: {finished:?}");
    }
    for args in [["--help"], ["help"]] {
        assert!(command().args(args).run().await.assert_exit_code(0).text().contains("run"));
    }
}
