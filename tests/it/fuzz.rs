//! `./just fuzz`: the list of targets, and the errors for an unknown target, an invalid time, and a missing nightly toolchain.
//! The targets themselves are tested next to their code.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use capstan_tests::guests;

/// Runs the script with a `rustup` that has no nightly toolchain, and with tools that fail if the script continues anyway.
fn fuzz(args: &[&str]) -> Output {
    let tools = tempfile::tempdir().unwrap();
    for tool in ["rustup", "cargo", "cargo-fuzz"] {
        let file = tools.path().join(tool);
        std::fs::write(&file, "#!/bin/sh\necho \"error: toolchain 'nightly' is not installed\" >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::join_paths([tools.path().to_owned(), "/usr/bin".into(), "/bin".into()]).unwrap();
    Command::new(guests::root().join("tests/fuzz/run")).args(args).env("PATH", path).output().unwrap()
}

#[test]
fn fuzz_without_a_target_lists_all_targets() {
    let output = fuzz(&[]);
    let corpora = std::fs::read_dir(guests::root().join("tests/fuzz/corpus")).unwrap();
    let mut known: Vec<_> = corpora.map(|corpus| corpus.unwrap().file_name().into_string().unwrap()).collect();
    known.sort();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), listed.lines().collect::<Vec<_>>()),
        (Some(0), known.iter().map(String::as_str).collect())
    );
}

#[test]
fn fuzz_reports_invalid_arguments_and_missing_tools() {
    for (args, code, said) in [
        (&["framse"][..], 2, "no target framse; there are: arguments artifact frames"),
        (&["fr.mes"], 2, "no target fr.mes"),
        (&["frames", "soon"], 2, "soon is no time such as"),
        (&["frames", "-1"], 2, "-1 is no time"),
        (&["frames", "1h"], 3, "no nightly"),
    ] {
        let output = fuzz(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert!(message.starts_with("fuzz: ") && message.contains(said), "{args:?}: {message}");
    }
}
