//! What the pages of the documentation show is what comes out: each `$ capstan …` of a block of type `console` is run, in its order.

use std::fs;

use capstan_tests::{Daemon, Setup, guests};
use serde_json::json;

use crate::{CAPSTAN, told_of};

/// The blocks of a page that have this type.
fn blocks(page: &str, of: &str) -> Vec<String> {
    let fences = page.split("```");
    let inside = fences.skip(1).step_by(2);
    inside.filter_map(|block| block.strip_prefix(of)?.strip_prefix('\n').map(str::to_owned)).collect()
}

/// The commands of a block, with what is printed after each.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ capstan "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => printed.extend([line, "\n"]),
            (None, None) => panic!("nothing is called before {line}"),
        }
    }
    commands
}

#[tokio::test]
async fn the_page_on_policies_shows_what_comes_out() {
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
        let finished = told_of(&daemon).args(&words).run().await;
        let printed = format!("{}{}", finished.text(), finished.stderr);
        assert_eq!(printed, shown, "capstan {command}");
    }
}

/// Pushes a program under a name with a manifest of this text, which must get all that it asks for.
async fn push_with(daemon: &Daemon, name: &str, manifest: &str) {
    let file = daemon.setup().folder().join("job.toml");
    fs::write(&file, manifest).unwrap();
    let program = format!("{name}={}", guests::compiled_path("wordcount").display());
    told_of(daemon).args(["push", &program, "--manifest", file.to_str().unwrap()]).run().await.exited(0);
    let checked = told_of(daemon).args(["check", "--json", name]).run().await.exited(0).json();
    assert_eq!((&checked["allowed"], &checked["findings"]), (&true.into(), &json!([])), "{checked}");
}

#[test]
fn the_page_on_policies_has_an_example_of_every_key() {
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

/// The words of a command without quotes.
fn shell_words(command: &str) -> Vec<String> {
    assert!(!command.contains(['\'', '"', '\\', '|', '<', '>']), "{command} needs a shell");
    command.split_whitespace().map(str::to_owned).collect()
}
