//! `./just fuzz`: what it says without a target, of a target or a time that there is not, and where no nightly toolchain is installed.
//! What the targets hold is tested beside them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use capstan_tests::guests;

/// Runs the script where `rustup` knows no nightly toolchain, and nothing fuzzes if it goes on nevertheless.
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
fn without_a_target_they_are_listed() {
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
fn what_cannot_be_done_is_said() {
    for (args, code, said) in [
        (&["framse"][..], 2, "no target framse; there are: arguments artifact frames"),
        (&["fr.mes"], 2, "no target fr.mes"),
        (&["frames", "soon"], 2, "soon is no time such as"),
        (&["frames", "-1"], 2, "-1 is no time"),
        (&["frames", "1h"], 3, "no nightly"),
    ] {
        let output = fuzz(args);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {complaint}");
        assert!(complaint.starts_with("fuzz: ") && complaint.contains(said), "{args:?}: {complaint}");
    }
}
