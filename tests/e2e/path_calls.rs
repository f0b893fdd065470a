//! Calls that take a path below a directory, made with a descriptor that is no directory.

use std::fs;
use std::path::Path;

use capstan_tests::guests;

use crate::command;

/// The calls, in the order in which the guest makes them.
const CALLS: [&str; 15] = [
    "path_open",
    "path_open (create)",
    "path_open (directory)",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_readlink",
    "path_create_directory",
    "path_remove_directory",
    "path_unlink_file",
    "path_symlink",
    "path_link (from)",
    "path_link (to)",
    "path_rename (from)",
    "path_rename (to)",
    "fd_readdir",
];

const EBADF: u8 = 8;
const ENOTDIR: u8 = 54;

/// The kinds of descriptors in the order of the guest, and what each call answers.
const KINDS: [(&str, u8); 6] = [
    ("a file", ENOTDIR),
    ("stdin", ENOTDIR),
    ("stdout", ENOTDIR),
    ("stderr", ENOTDIR),
    ("a closed descriptor", EBADF),
    ("a descriptor that never was", EBADF),
];

/// A folder with a file and a folder in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    folder
}

fn assert_unchanged(folder: &Path, what: &str) {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "sub"], "{what}");
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "content", "{what}");
}

/// What is granted: a folder, a folder in which nothing more may be made, and one file.
fn grants(folder: &Path) -> [Vec<String>; 3] {
    let dir = format!("--dir={}::/data", folder.display());
    let file = format!("--dir={}::/data/file", folder.join("file").display());
    [vec![dir.clone()], vec![dir, "--files=0".to_owned()], vec![file]]
}

#[tokio::test]
async fn every_path_call_of_preview_1_rejects_what_is_no_directory() {
    let folder = folder();
    let guest = guests::root().join("tests/e2e/guests/every_path_call.wat");
    for grant in grants(folder.path()) {
        let run = command().args(["run"]).args(&grant).args([&guest]);
        let answers = run.run().await.assert_exit_code(0).stdout;
        assert_eq!(answers.len(), CALLS.len() * KINDS.len(), "{grant:?}");
        for ((kind, expected), answers) in KINDS.iter().zip(answers.chunks(CALLS.len())) {
            for (call, answer) in CALLS.iter().zip(answers) {
                assert_eq!(answer, expected, "{call} with {kind}, {grant:?}");
            }
        }
        assert_unchanged(folder.path(), &format!("{grant:?}"));
    }
}

#[tokio::test]
async fn every_path_call_of_a_component_rejects_a_file() {
    let folder = folder();
    for grant in grants(folder.path()) {
        let run = command().args(["run"]).args(&grant).args([guests::compiled_path("probe.p2")]);
        let finished = run.args(["by-file", "/data", "file"]).run().await.assert_exit_code(0);
        let answers: Vec<_> = finished.text().lines().collect();
        assert_eq!(answers.len(), 16, "{finished:?}");
        for answer in answers {
            assert!(answer.ends_with(" not-directory"), "{answer}, {grant:?}");
        }
        assert_unchanged(folder.path(), &format!("{grant:?}"));
    }
}
