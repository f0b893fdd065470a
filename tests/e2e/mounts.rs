//! Directories that the user mounts for a run in process: what a guest can do with them, and that it cannot escape from them.

use std::fs;
use std::path::PathBuf;

use capstan_tests::{Finished, guests};
use tempfile::TempDir;

use crate::command;

const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

/// A directory to mount, with a file in it, next to a file that must stay out of reach.
struct MountedFolder {
    folder: TempDir,
}

impl MountedFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/inside"), "inside").unwrap();
        fs::write(folder.path().join("outside"), "outside").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a probe with the directory mounted as `/data` with this access.
    async fn run_probe(&self, probe: &str, access: &str, args: &[&str]) -> Finished {
        let dir = format!("{}::/data{access}", self.path("data").display());
        let run = command().args(["run", "--dir", &dir]).args([guests::compiled_path(probe)]).args(args);
        run.run().await
    }
}

#[tokio::test]
async fn mounted_folder_can_be_read_and_listed() {
    let granted = MountedFolder::new();
    for probe in PROBES {
        for access in ["", ":ro", ":rw"] {
            assert_eq!(
                granted.run_probe(probe, access, &["read", "/data/inside"]).await.assert_exit_code(0).text(),
                "inside",
                "{probe}{access}"
            );
            assert_eq!(
                granted.run_probe(probe, access, &["ls", "/data"]).await.assert_exit_code(0).text(),
                "inside\n",
                "{probe}{access}"
            );
        }
    }
}

#[tokio::test]
async fn folder_mounted_read_write_can_be_written() {
    let granted = MountedFolder::new();
    // Only the module writes: components built by the fallback toolchain cannot create files under any runtime.
    assert_eq!(
        granted.run_probe("probe.p1", "", &["write", "/data/new", "text"]).await.assert_exit_code(0).text(),
        "ok\n"
    );
    assert_eq!(fs::read_to_string(granted.path("data/new")).unwrap(), "text");
    assert_eq!(
        granted.run_probe("probe.p1", ":rw", &["write", "/data/new", "again"]).await.assert_exit_code(0).text(),
        "ok\n"
    );
    assert_eq!(fs::read_to_string(granted.path("data/new")).unwrap(), "again");
}

#[tokio::test]
async fn folder_mounted_read_only_cannot_be_written() {
    let granted = MountedFolder::new();
    for probe in PROBES {
        for file in ["/data/new", "/data/inside"] {
            let finished = granted.run_probe(probe, ":ro", &["write", file, "text"]).await.assert_exit_code(1);
            assert!(finished.text().starts_with("error: "), "{probe}: {finished:?}");
        }
    }
    assert!(!granted.path("data/new").exists());
    assert_eq!(fs::read_to_string(granted.path("data/inside")).unwrap(), "inside");
}

#[tokio::test]
async fn guest_cannot_escape_from_a_mounted_folder() {
    let granted = MountedFolder::new();
    std::os::unix::fs::symlink("../outside", granted.path("data/relative")).unwrap();
    std::os::unix::fs::symlink(granted.path("outside"), granted.path("data/absolute")).unwrap();
    std::os::unix::fs::symlink("loop", granted.path("data/loop")).unwrap();
    std::os::unix::fs::symlink("..", granted.path("data/up")).unwrap();
    for probe in PROBES {
        for path in [
            "/data/../outside",
            "/data/relative",
            "/data/absolute",
            "/data/loop",
            "/data/up/outside",
            "/outside",
            "/etc/passwd",
        ] {
            let finished = granted.run_probe(probe, "", &["read", path]).await.assert_exit_code(1);
            assert!(finished.text().starts_with("error: "), "{probe} {path}: {finished:?}");
        }
        granted.run_probe(probe, "", &["write", "/data/../escaped", "x"]).await.assert_exit_code(1);
        granted.run_probe(probe, "", &["ls", "/data/.."]).await.assert_exit_code(1);
    }
    assert!(!granted.path("escaped").exists());
}

#[tokio::test]
async fn open_handles_are_limited() {
    let granted = MountedFolder::new();
    for probe in PROBES {
        // Streams and the mount itself use some of the 128 handles.
        granted.run_probe(probe, ":ro", &["handles", "100", "/data/inside"]).await.assert_exit_code(0);
        let finished = granted.run_probe(probe, ":ro", &["handles", "10000", "/data/inside"]).await.assert_exit_code(0);
        let opened: usize = finished.text().trim().parse().unwrap();
        assert!((100..128).contains(&opened) && !finished.stderr.is_empty(), "{probe}: {finished:?}");
    }
}

#[tokio::test]
async fn invalid_mounts_are_rejected() {
    let granted = MountedFolder::new();
    for dir in [
        "/dev/null::/data".to_owned(),
        "/nowhere::/data".to_owned(),
        "no-guest-path".to_owned(),
        format!("{}::../data", granted.path("data").display()),
        format!("{}::/a/../data", granted.path("data").display()),
    ] {
        let finished = command()
            .args(["run", "--dir", &dir])
            .args([guests::compiled_path("probe.p1")])
            .args(["name"])
            .run()
            .await
            .assert_exit_code(125);
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{dir}: {finished:?}");
    }
}

#[tokio::test]
async fn mounted_file_does_not_expose_its_siblings() {
    let granted = MountedFolder::new();
    for probe in PROBES {
        let dir = format!("{}::/etc/file:ro", granted.path("data/inside").display());
        let run_probe = |args: [&'static str; 2]| {
            command().args(["run", "--dir", &dir]).args([guests::compiled_path(probe)]).args(args).run()
        };
        assert_eq!(run_probe(["read", "/etc/file"]).await.assert_exit_code(0).text(), "inside", "{probe}");
        run_probe(["read", "/etc/inside"]).await.assert_exit_code(1);
        run_probe(["ls", "/etc"]).await.assert_exit_code(1);
    }
}

#[tokio::test]
async fn disk_quota_is_enforced_in_process() {
    let granted = MountedFolder::new();
    for probe in PROBES {
        let dir = format!("{}::/data", granted.path("data").display());
        let run = command().args(["run", "--dir", &dir, "--disk", "5"]).args([guests::compiled_path(probe)]);
        let finished = run.args(["put", "/data/new", "9", "9"]).run().await.assert_exit_code(137);
        assert!(finished.stderr.contains("no more than 5 B"), "{finished:?}");
        assert_eq!(fs::read(granted.path("data/new")).unwrap().len(), 5, "{probe}");
    }
}

#[tokio::test]
async fn scratch_directory_is_removed_after_a_run_in_process() {
    let folder = tempfile::tempdir().unwrap();
    for probe in PROBES {
        let run = |scratch: &'static str| {
            let run = command().env("TMPDIR", folder.path().to_str().unwrap()).args(["run", "--scratch", scratch]);
            run.args([guests::compiled_path(probe)]).args(["put", "/scratch/f", "9", "9"]).run()
        };
        run("9").await.assert_exit_code(0);
        run("8").await.assert_exit_code(137);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{probe}");
    }
}
