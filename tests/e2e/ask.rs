//! The subcommands that push, ask and show.

use std::fs;

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, alone, serving, told_of};

#[tokio::test]
async fn a_program_is_pushed_under_its_files_name_or_another() {
    let daemon = Daemon::start(CAPSTAN);
    told_of(&daemon).file("hello.wasm", guests::run::HELLO).args(["push", "hello.wasm"]).run().await.exited(0);
    told_of(&daemon).file("x.wasm", guests::run::HELLO).args(["push", "greet=x.wasm"]).run().await.exited(0);
    for name in ["hello", "greet"] {
        let finished = told_of(&daemon).args(["run", name]).run().await.exited(0);
        assert_eq!(finished.text(), "hello\n");
    }
}

#[tokio::test]
async fn a_program_in_text_format_is_turned_to_binary() {
    let daemon = Daemon::start(CAPSTAN);
    let text = fs::read(guests::root().join("tests/guests/run_hello.wat")).unwrap();
    told_of(&daemon).file("hi.wat", &text).args(["push", "hi.wat"]).run().await.exited(0);
    assert_eq!(told_of(&daemon).args(["run", "hi"]).run().await.exited(0).text(), "hello\n");

    let broken = told_of(&daemon)
        .file("bad.wat", b"(module (func $f (call $g)))")
        .args(["push", "bad.wat"])
        .run()
        .await
        .exited(125);
    assert!(broken.stderr.contains("$g"), "{broken:?}");
}

#[tokio::test]
async fn a_manifest_goes_with_the_program() {
    let daemon = Daemon::start(CAPSTAN);
    let manifest = b"name = \"greeter\"\ndescription = \"Greets\"\n[policy]\ntimeout = \"9s\"\n";
    let push = told_of(&daemon).file("x.wasm", guests::run::HELLO).file("job.toml", manifest);
    push.args(["push", "x.wasm", "--manifest", "job.toml"]).run().await.exited(0);
    let shown = told_of(&daemon).args(["handlers", "inspect", "greeter", "--json"]).run().await.exited(0);
    assert_eq!(shown.json()["description"], "Greets");

    let push = told_of(&daemon).file("x.wasm", guests::run::HELLO).file("job.toml", b"colour = 1");
    let refused = push.args(["push", "x.wasm", "--manifest", "job.toml"]).run().await.exited(125);
    assert!(refused.stderr.contains("colour"), "{refused:?}");
}

#[tokio::test]
async fn the_first_party_jobs_are_pushed_with_their_manifests() {
    let daemon = Daemon::start(CAPSTAN);
    for job in ["wordcount", "csv2json", "thumbnail"] {
        let program = guests::compiled_path(job);
        let manifest = guests::root().join("jobs").join(job).join("job.toml");
        let push = told_of(&daemon).args(["push"]).args([&program]).args(["--manifest"]).args([&manifest]);
        push.run().await.exited(0);
        let shown = told_of(&daemon).args(["handlers", "inspect", job, "--json"]).run().await.exited(0);
        assert!(shown.json()["description"].as_str().is_some_and(|text| !text.is_empty()), "{shown:?}");
    }
    let lock = fs::read(guests::root().join("Cargo.lock")).unwrap();
    let counted = told_of(&daemon).args(["run", "wordcount", "--top", "1"]).stdin(lock.clone()).run().await.exited(0);
    assert_eq!(counted.json()["bytes"], lock.len());
}

#[tokio::test]
async fn a_program_that_is_refused_is_told_with_why() {
    let daemon = Daemon::start(CAPSTAN);
    let refused = told_of(&daemon).file("x.wasm", b"not wasm").args(["push", "x.wasm"]).run().await.exited(125);
    assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{refused:?}");
    let refused = told_of(&daemon)
        .file("x.wasm", guests::handlers::BROWSER_IMPORTS)
        .args(["push", "x.wasm"])
        .run()
        .await
        .exited(125);
    assert!(refused.stderr.contains("wbg"), "{refused:?}");
    let missing = told_of(&daemon).args(["push", "nowhere.wasm"]).run().await.exited(125);
    assert!(missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[tokio::test]
async fn handlers_are_listed_inspected_and_removed() {
    let daemon = serving("hello", guests::run::HELLO).await;
    for list in [&["handlers"] as &[&str], &["handlers", "ls"]] {
        let listed = told_of(&daemon).args(list).run().await.exited(0);
        assert!(listed.text().lines().any(|line| line.contains("hello") && line.contains("module")), "{listed:?}");
    }
    let json = told_of(&daemon).args(["handlers", "--json"]).run().await.exited(0).json();
    let listed = json.as_array().or_else(|| json["handlers"].as_array()).unwrap_or_else(|| panic!("no list in {json}"));
    assert!(listed.iter().any(|handler| handler["name"] == "hello"), "{json}");

    let shown = told_of(&daemon).args(["handlers", "inspect", "hello", "--json"]).run().await.exited(0);
    assert_eq!(shown.json()["size"], guests::run::HELLO.len());
    told_of(&daemon).args(["handlers", "rm", "hello"]).run().await.exited(0);
    told_of(&daemon).args(["handlers", "inspect", "hello"]).run().await.exited(127);
    told_of(&daemon).args(["handlers", "rm", "hello"]).run().await.exited(127);
    let builtin = told_of(&daemon).args(["handlers", "rm", "version"]).run().await.exited(125);
    assert!(builtin.stderr.contains("version"), "{builtin:?}");
}

#[tokio::test]
async fn version_and_info_are_shown() {
    let daemon = Daemon::start(CAPSTAN);
    let info = told_of(&daemon).args(["info", "--json"]).run().await.exited(0);
    assert_eq!(info.json()["state"], "running");
    assert!(told_of(&daemon).args(["info"]).run().await.exited(0).text().contains("running"));
    let version = told_of(&daemon).args(["version", "--json"]).run().await.exited(0);
    assert!(version.text().contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    assert!(told_of(&daemon).args(["version"]).run().await.exited(0).text().contains(env!("CARGO_PKG_VERSION")));
    assert!(alone().args(["--version"]).run().await.exited(0).text().contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_daemon_may_be_named_by_flag_before_and_after_and_by_variable() {
    let daemon = Daemon::start(CAPSTAN);
    let unix = format!("unix://{}", daemon.unix().display());
    let tcp = format!("tcp://{}", daemon.addr());
    for host in [unix.as_str(), tcp.as_str()] {
        alone().args(["-H", host, "info"]).run().await.exited(0);
        alone().args(["info", "-H", host]).run().await.exited(0);
        alone().env("CAPSTAN_HOST", host).args(["info"]).run().await.exited(0);
    }
    // The flag wins.
    alone().env("CAPSTAN_HOST", "tcp://127.0.0.1:1").args(["-H", &unix, "info"]).run().await.exited(0);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_told_with_its_address() {
    for (host, named) in [("tcp://127.0.0.1:1", "127.0.0.1:1"), ("unix:///nowhere/x.sock", "/nowhere/x.sock")] {
        let finished = alone().args(["-H", host, "info"]).run().await.exited(125);
        assert!(finished.stderr.contains(named), "{finished:?}");
        alone().args(["-H", host, "run", "hello"]).run().await.exited(125);
    }
}

#[tokio::test]
async fn wrong_usage_is_told_with_exit_code_125() {
    for args in [&["nonsense"] as &[&str], &["run"], &["push"], &["info", "--colour"], &["-H", "nonsense", "info"], &[]]
    {
        let finished = alone().args(args).run().await.exited(125);
        assert!(!finished.stderr.is_empty(), "{args:?}: {finished:?}");
    }
    for args in [["--help"], ["help"]] {
        assert!(alone().args(args).run().await.exited(0).text().contains("run"));
    }
}
