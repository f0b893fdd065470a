//! The examples in the documentation print what the pages show: each `$ capstan …` in a block of type `console` is run in order.

use std::fs;

use capstan_tests::{Daemon, Setup, guests};
use serde_json::json;

use crate::{CAPSTAN, command_for};

/// Returns the blocks of a page that have this type.
fn blocks(page: &str, of: &str) -> Vec<String> {
    let fences = page.split("```");
    let inside = fences.skip(1).step_by(2);
    inside.filter_map(|block| block.strip_prefix(of)?.strip_prefix('\n').map(str::to_owned)).collect()
}

/// Returns the commands of a block, each with the output that follows it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ capstan "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => printed.extend([line, "\n"]),
            (None, None) => panic!("no command precedes {line}"),
        }
    }
    commands
}

#[tokio::test]
async fn policy_page_examples_print_the_documented_output() {
    let page = fs::read_to_string(guests::root().join("docs/policy.md")).unwrap();
    let setup = Setup::new(CAPSTAN);
    let folder = setup.folder().join("srv");
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::write(folder.join("password"), "correct horse battery staple").unwrap();
    let configuration = &blocks(&page, "toml")[0].replace("/srv", &folder.display().to_string());
    let daemon = setup.config(configuration).env("TZ", "Europe/Zurich").start();
    daemon.client().push("wordcount", guests::compiled("wordcount")).await;
    push_with(&daemon, "everything", &blocks(&page, "toml")[1]).await;
    let all: Vec<_> = blocks(&page, "console").iter().flat_map(|block| commands(block)).collect();
    assert!(all.len() >= 3, "{all:?}");
    for (command, shown) in all {
        let words = shell_words(&command);
        let finished = command_for(&daemon).args(&words).run().await;
        let printed = format!("{}{}", finished.text(), finished.stderr);
        assert_eq!(printed, shown, "capstan {command}");
    }
}

/// Pushes a program with a manifest of this text. The daemon must grant everything that the manifest requests.
async fn push_with(daemon: &Daemon, name: &str, manifest: &str) {
    let file = daemon.setup().folder().join("job.toml");
    fs::write(&file, manifest).unwrap();
    let program = format!("{name}={}", guests::compiled_path("wordcount").display());
    command_for(daemon).args(["push", &program, "--manifest", file.to_str().unwrap()]).run().await.assert_exit_code(0);
    let checked = command_for(daemon).args(["check", "--json", name]).run().await.assert_exit_code(0).json();
    assert_eq!((&checked["allowed"], &checked["findings"]), (&true.into(), &json!([])), "{checked}");
}

#[test]
fn policy_page_example_contains_every_policy_key() {
    let page = fs::read_to_string(guests::root().join("docs/policy.md")).unwrap();
    let example: toml::Table = toml::from_str(&blocks(&page, "toml")[1]).unwrap();
    let schema = fs::read_to_string(guests::root().join("docs/job.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let mut known: Vec<_> = schema["$defs"]["Policy"]["properties"].as_object().unwrap().keys().collect();
    known.sort();
    let mut shown: Vec<_> = example["policy"].as_table().unwrap().keys().collect();
    shown.sort();
    assert_eq!(shown, known);
}

/// Splits a command without quotes into words.
fn shell_words(command: &str) -> Vec<String> {
    assert!(!command.contains(['\'', '"', '\\', '|', '<', '>']), "{command} needs a shell");
    command.split_whitespace().map(str::to_owned).collect()
}
