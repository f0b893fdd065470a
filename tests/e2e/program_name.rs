//! `argv[0]`: what a guest finds as its own name.

use std::fs;

use capstan_tests::{Daemon, guests};

use crate::{CAPSTAN, command, command_for, serving};

const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

fn probe(name: &str) -> Vec<u8> {
    fs::read(guests::compiled_path(name)).unwrap()
}

#[tokio::test]
async fn program_of_a_file_is_called_like_the_file_in_process() {
    for name in PROBES {
        for (file, word) in [("hello.wasm", "hello.wasm"), ("my tool.wasm", "./my tool.wasm"), ("tool", "./tool")] {
            let run = command().file(file, &probe(name)).args(["run", word, "name"]);
            assert_eq!(run.run().await.assert_exit_code(0).text(), format!("{file}\n"), "{name}");
        }
    }
}

#[tokio::test]
async fn program_of_a_file_is_called_like_the_file_through_a_daemon() {
    let daemon = Daemon::start(CAPSTAN);
    for name in PROBES {
        let cli = || command_for(&daemon).file("hello.wasm", &probe(name));
        assert_eq!(
            cli().args(["run", "./hello.wasm", "name"]).run().await.assert_exit_code(0).text(),
            "hello.wasm\n",
            "{name}"
        );
        let submitted = cli().args(["run", "-d", "hello.wasm", "name"]).run().await.assert_exit_code(0);
        let id = submitted.text().trim();
        command_for(&daemon).args(["wait", id]).run().await.assert_exit_code(0);
        assert_eq!(
            command_for(&daemon).args(["logs", id]).run().await.assert_exit_code(0).text(),
            "hello.wasm\n",
            "{name}"
        );
    }
}

#[tokio::test]
async fn program_of_a_handler_is_called_like_the_handler_unless_its_manifest_names_it() {
    for name in PROBES {
        let daemon = serving("tool", &probe(name)).await;
        let ask = async || {
            command_for(&daemon).args(["run", "tool", "name"]).run().await.assert_exit_code(0).text().to_owned()
        };
        assert_eq!(ask().await, "tool\n", "{name}");
        let push =
            command_for(&daemon).file("tool.wasm", &probe(name)).file("job.toml", b"argv0 = \"/usr/bin/tool\"\n");
        push.args(["push", "--manifest", "job.toml", "tool.wasm"]).run().await.assert_exit_code(0);
        assert_eq!(ask().await, "/usr/bin/tool\n", "{name}");
    }
}
