//! Data folders that cannot be had: the daemon says which, and why, and does not run.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use capstan_tests::Setup;

use crate::CAPSTAN;

/// Starts a daemon on `data`, which it must refuse with a line that names the folder, and why.
#[track_caller]
fn refused(setup: &Setup, data: &Path, why: &str) {
    let refused = setup.clone().data(data).refused();
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert_eq!(refused.status.code(), Some(1), "{last}");
    assert!(last.contains(&data.display().to_string()) && last.contains(why), "{last}");
    assert_eq!(refused.stdout.iter().filter(|line| *line == "ready").count(), 0);
}

#[test]
fn one_that_may_not_be_read_or_written() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    for (mode, name) in [(0o000, "shut"), (0o100, "entered"), (0o400, "listed"), (0o500, "read-only")] {
        let data = setup.folder_with_mode(name, mode);
        refused(&setup, &data, "Permission denied");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn one_whose_parent_may_not_be_written() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    let parent = setup.folder_with_mode("parent", 0o500);
    refused(&setup, &parent.join("data"), "Permission denied");
    assert!(!parent.join("data").exists());
}

#[test]
fn one_with_a_folder_in_it_that_may_not_be_entered() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    for part in ["programs", "handlers", "artifacts", "keys"] {
        let data = setup.folder_with_mode(&format!("with-{part}"), 0o700);
        let inner = setup.folder_with_mode(&format!("with-{part}/{part}"), 0o000);
        refused(&setup, &data, part);
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn one_of_another_user() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("foreign", 0o700);
    if rustix::process::geteuid().is_root() {
        chown(&data, Some(12_345), None).unwrap();
        refused(&setup, &data, "it belongs to user 12345, not to user 0");
    } else {
        refused(&setup, Path::new("/usr"), "it belongs to user 0");
    }
}

#[test]
fn one_that_is_no_folder_or_cannot_be_made() {
    let setup = Setup::new(CAPSTAN);
    let file = setup.folder().join("file");
    fs::write(&file, "").unwrap();
    refused(&setup, &file, "exists");
    refused(&setup, &file.join("below"), "Not a directory");
    refused(&setup, Path::new("/proc/capstan"), "cannot open data folder");
}
