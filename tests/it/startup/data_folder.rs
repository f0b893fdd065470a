//! Unusable data directories: the daemon names the directory and the reason, and exits.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use capstan_tests::Setup;

use crate::CAPSTAN;

/// Starts a daemon on `data` and checks that it fails with a message that names the directory and the reason.
#[track_caller]
fn assert_rejected(setup: &Setup, data: &Path, why: &str) {
    let refused = setup.clone().data(data).start_must_fail();
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert_eq!(refused.status.code(), Some(1), "{last}");
    assert!(last.contains(&data.display().to_string()) && last.contains(why), "{last}");
    assert_eq!(refused.stdout.iter().filter(|line| *line == "ready").count(), 0);
}

#[test]
fn data_folder_without_read_or_write_permission_is_rejected() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    for (mode, name) in [(0o000, "shut"), (0o100, "entered"), (0o400, "listed"), (0o500, "read-only")] {
        let data = setup.folder_with_mode(name, mode);
        assert_rejected(&setup, &data, "Permission denied");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn data_folder_that_cannot_be_created_in_its_parent_is_rejected() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    let parent = setup.folder_with_mode("parent", 0o500);
    assert_rejected(&setup, &parent.join("data"), "Permission denied");
    assert!(!parent.join("data").exists());
}

#[test]
fn data_folder_with_an_inaccessible_subfolder_is_rejected() {
    let setup = Setup::new(CAPSTAN).unprivileged();
    for part in ["programs", "handlers", "artifacts", "keys"] {
        let data = setup.folder_with_mode(&format!("with-{part}"), 0o700);
        let inner = setup.folder_with_mode(&format!("with-{part}/{part}"), 0o000);
        assert_rejected(&setup, &data, part);
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn data_folder_of_another_user_is_rejected() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("foreign", 0o700);
    if rustix::process::geteuid().is_root() {
        chown(&data, Some(12_345), None).unwrap();
        assert_rejected(&setup, &data, "it belongs to user 12345, not to user 0");
    } else {
        assert_rejected(&setup, Path::new("/usr"), "it belongs to user 0");
    }
}

#[test]
fn data_folder_that_is_a_file_or_cannot_be_created_is_rejected() {
    let setup = Setup::new(CAPSTAN);
    let file = setup.folder().join("file");
    fs::write(&file, "").unwrap();
    assert_rejected(&setup, &file, "exists");
    assert_rejected(&setup, &file.join("below"), "Not a directory");
    assert_rejected(&setup, Path::new("/proc/capstan"), "cannot open data directory");
}
