//! Directories that the user grants to a run in process: what a guest can do there, and that there is no way out.

use std::fs;
use std::path::PathBuf;

use capstan_tests::{Finished, guests};
use tempfile::TempDir;

use crate::alone;

const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

/// A folder to grant, with a file in it, beside one that must stay out of reach.
struct Granted {
    folder: TempDir,
}

impl Granted {
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

    /// Runs a probe with the folder granted as `/data`, with this access.
    async fn ask(&self, probe: &str, access: &str, args: &[&str]) -> Finished {
        let dir = format!("{}::/data{access}", self.path("data").display());
        let run = alone().args(["run", "--dir", &dir]).args([guests::compiled_path(probe)]).args(args);
        run.run().await
    }
}

#[tokio::test]
async fn a_granted_folder_is_read_and_listed() {
    let granted = Granted::new();
    for probe in PROBES {
        for access in ["", ":ro", ":rw"] {
            assert_eq!(
                granted.ask(probe, access, &["read", "/data/inside"]).await.exited(0).text(),
                "inside",
                "{probe}{access}"
            );
            assert_eq!(
                granted.ask(probe, access, &["ls", "/data"]).await.exited(0).text(),
                "inside\n",
                "{probe}{access}"
            );
        }
    }
}

#[tokio::test]
async fn a_folder_granted_for_writing_is_written() {
    let granted = Granted::new();
    // Only the module writes: components that the fallback toolchain makes cannot create files under any runtime.
    assert_eq!(granted.ask("probe.p1", "", &["write", "/data/new", "text"]).await.exited(0).text(), "ok\n");
    assert_eq!(fs::read_to_string(granted.path("data/new")).unwrap(), "text");
    assert_eq!(granted.ask("probe.p1", ":rw", &["write", "/data/new", "again"]).await.exited(0).text(), "ok\n");
    assert_eq!(fs::read_to_string(granted.path("data/new")).unwrap(), "again");
}

#[tokio::test]
async fn a_folder_granted_for_reading_is_not_written() {
    let granted = Granted::new();
    for probe in PROBES {
        for file in ["/data/new", "/data/inside"] {
            let finished = granted.ask(probe, ":ro", &["write", file, "text"]).await.exited(1);
            assert!(finished.text().starts_with("error: "), "{probe}: {finished:?}");
        }
    }
    assert!(!granted.path("data/new").exists());
    assert_eq!(fs::read_to_string(granted.path("data/inside")).unwrap(), "inside");
}

#[tokio::test]
async fn there_is_no_way_out_of_a_granted_folder() {
    let granted = Granted::new();
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
            let finished = granted.ask(probe, "", &["read", path]).await.exited(1);
            assert!(finished.text().starts_with("error: "), "{probe} {path}: {finished:?}");
        }
        granted.ask(probe, "", &["write", "/data/../escaped", "x"]).await.exited(1);
        granted.ask(probe, "", &["ls", "/data/.."]).await.exited(1);
    }
    assert!(!granted.path("escaped").exists());
}

#[tokio::test]
async fn handles_are_limited() {
    let granted = Granted::new();
    for probe in PROBES {
        // Streams and the mount itself take some of the 128.
        granted.ask(probe, ":ro", &["handles", "100", "/data/inside"]).await.exited(0);
        let finished = granted.ask(probe, ":ro", &["handles", "10000", "/data/inside"]).await.exited(134);
        assert!(finished.stderr.contains("handles_exhausted"), "{probe}: {finished:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused() {
    let granted = Granted::new();
    for dir in [
        "/dev/null::/data".to_owned(),
        "/nowhere::/data".to_owned(),
        "no-guest-path".to_owned(),
        format!("{}::../data", granted.path("data").display()),
        format!("{}::/a/../data", granted.path("data").display()),
    ] {
        let finished = alone()
            .args(["run", "--dir", &dir])
            .args([guests::compiled_path("probe.p1")])
            .args(["name"])
            .run()
            .await
            .exited(125);
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{dir}: {finished:?}");
    }
}

#[tokio::test]
async fn one_file_is_granted_without_what_is_beside_it() {
    let granted = Granted::new();
    for probe in PROBES {
        let dir = format!("{}::/etc/file:ro", granted.path("data/inside").display());
        let ask = |args: [&'static str; 2]| {
            alone().args(["run", "--dir", &dir]).args([guests::compiled_path(probe)]).args(args).run()
        };
        assert_eq!(ask(["read", "/etc/file"]).await.exited(0).text(), "inside", "{probe}");
        ask(["read", "/etc/inside"]).await.exited(1);
        ask(["ls", "/etc"]).await.exited(1);
    }
}

#[tokio::test]
async fn the_quota_holds_in_process_too() {
    let granted = Granted::new();
    for probe in PROBES {
        let dir = format!("{}::/data", granted.path("data").display());
        let run = alone().args(["run", "--dir", &dir, "--disk", "5"]).args([guests::compiled_path(probe)]);
        let finished = run.args(["put", "/data/new", "9", "9"]).run().await.exited(137);
        assert!(finished.stderr.contains("no more than 5 B"), "{finished:?}");
        assert_eq!(fs::read(granted.path("data/new")).unwrap().len(), 5, "{probe}");
    }
}

#[tokio::test]
async fn a_scratch_directory_is_had_in_process_and_is_gone_after() {
    let folder = tempfile::tempdir().unwrap();
    for probe in PROBES {
        let run = |scratch: &'static str| {
            let run = alone().env("TMPDIR", folder.path().to_str().unwrap()).args(["run", "--scratch", scratch]);
            run.args([guests::compiled_path(probe)]).args(["put", "/scratch/f", "9", "9"]).run()
        };
        run("9").await.exited(0);
        run("8").await.exited(137);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{probe}");
    }
}
