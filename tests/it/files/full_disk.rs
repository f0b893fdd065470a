//! File systems that are full, or whose own quota is exceeded: the guest gets the error, the outcome names it, and no other run is affected.
//!
//! The tests mount file systems, which not every tester may do. If a mount fails, the test prints that on stderr and checks nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_tests::Setup;
use serde_json::{Value, json};

use crate::files::disk::MountFixture;
use crate::files::escapes::result_of;
use crate::{CAPSTAN, PROBES, oracle};

/// A small file system, mounted in the directory of a setup until this value is dropped.
struct SmallFileSystem {
    at: PathBuf,
    setup: Setup,
}

impl SmallFileSystem {
    /// Mounts a file system of 1 MiB with few inodes at `work`.
    fn full() -> Option<Self> {
        let setup = Setup::new(CAPSTAN);
        let small = Self::at(setup, "work");
        run_commands(&[&["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=24", "small", small.path()]]).then_some(small)
    }

    /// Mounts a file system in which the directory `work` has a quota of 1 MiB.
    fn with_quota() -> Option<Self> {
        let setup = Setup::new(CAPSTAN);
        let image = setup.folder().join("image");
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let small = Self::at(setup, "btrfs");
        let work = small.at.join("work");
        let work = work.to_str().unwrap();
        let made = run_commands(&[
            &["mkfs.btrfs", "-q", image.to_str().unwrap()],
            &["mount", "-o", "loop", image.to_str().unwrap(), small.path()],
            &["btrfs", "quota", "enable", small.path()],
            &["btrfs", "subvolume", "create", work],
            &["btrfs", "qgroup", "limit", "1M", work],
        ]);
        made.then_some(small)
    }

    fn at(setup: Setup, name: &str) -> Self {
        let at = setup.folder().join(name);
        fs::create_dir(&at).unwrap();
        Self { at, setup }
    }

    fn path(&self) -> &str {
        self.at.to_str().unwrap()
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // This fails if it was never mounted.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

/// Runs commands until one fails. Returns whether all succeeded.
fn run_commands(all: &[&[&str]]) -> bool {
    all.iter().all(|words| {
        let done = Command::new(words[0]).args(&words[1..]).output();
        let why = match &done {
            Ok(done) if done.status.success() => return true,
            Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("{}: {}: full file systems are not tested here", words.join(" "), why.trim());
        false
    })
}

fn file_system_cap(what: &str, file_system: &str) -> Value {
    json!({"kind": "disk_cap", "what": what, "file_system": file_system, "mount": "/work"})
}

/// Fills `work` with every method of writing, and checks the reported error and the accounting.
async fn fill(fixture: &MountFixture, work: &Path, file_system: &str, code: &str) {
    let file = work.join("big");
    let size = || fs::metadata(&file).map_or(0, |there| there.len());
    for probe in PROBES {
        for args in [
            &["put", "/work/big", "4194304", "65536"][..],
            &["put", "/work/big", "4194304", "4194304"],
            &["put", "/work/big", "4194304", "4095"],
        ] {
            let framed = fixture.run(probe, json!({}), args).await;
            framed.assert_outcome("disk_cap", 137);
            assert_eq!(
                (framed.outcome(), result_of(&framed).as_str()),
                (&file_system_cap("bytes", file_system), code),
                "{probe} {args:?}"
            );
            let usage = &framed.last["usage"]["mounts"][0];
            assert_eq!(
                (&usage["written_bytes"], &usage["files_made"]),
                (&json!(size()), &json!(1)),
                "{probe} {args:?}"
            );
            assert!((1 << 16..=1 << 20).contains(&size()), "{} bytes fit", size());
            // A run that continues and exits normally has not failed.
            let framed = fixture
                .run(
                    probe,
                    json!({"mounts": [
                        {"name": "work", "access": "rw"}, {"name": "more", "access": "rw"},
                    ]}),
                    &["spread", "2000000", "/work/small", "/more/small"],
                )
                .await;
            framed.assert_outcome("exited", 0);
            assert_eq!(String::from_utf8_lossy(&framed.stdout), "no\nyes\n", "{probe}");
            let before = size();
            let framed = fixture.run(probe, json!({}), &["append", "/work/big", &"x".repeat(5000)]).await;
            assert_eq!((framed.kind(), result_of(&framed).as_str()), ("disk_cap", code), "{probe}");
            assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], size() - before, "{probe}");
            for name in ["big", "small"] {
                // The file does not exist if there was no space to create it.
                let _ = fs::remove_file(work.join(name));
            }
        }
        // The limit of the run applies first if it is smaller.
        let framed = fixture.run(probe, json!({"disk": 1000}), &["put", "/work/big", "4194304", "65536"]).await;
        assert_eq!(framed.outcome(), &json!({"kind": "disk_cap", "what": "bytes", "limit": 1000}), "{probe}");
        fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn full_file_system_ends_the_run_with_disk_cap() {
    let Some(small) = SmallFileSystem::full() else { return };
    let mut fixture = MountFixture::set_up(small.setup.clone(), "").await;
    fill(&fixture, &small.at, "full", "insufficient-space").await;
    for probe in PROBES {
        let framed = fixture.run(probe, json!({}), &["many", "/work/m", "100"]).await;
        framed.assert_outcome("disk_cap", 137);
        assert_eq!(framed.outcome(), &file_system_cap("files", "full"), "{probe}");
        let there = fs::read_dir(&small.at).unwrap().count();
        assert_eq!(framed.last["usage"]["mounts"][0]["files_made"], there);
        for make in [&["mkdir", "/work/d"][..], &["symlink", "m0", "/work/s"], &["link", "/work/m0", "/work/l"]] {
            let framed = fixture.run(probe, json!({}), make).await;
            assert_eq!(
                (framed.outcome(), result_of(&framed).as_str()),
                (&file_system_cap("files", "full"), "insufficient-space"),
                "{probe} {make:?}"
            );
        }
        for entry in fs::read_dir(&small.at).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    oracle::still_answers(&mut fixture.daemon).await;
}

#[tokio::test]
async fn exceeded_file_system_quota_ends_the_run_with_disk_cap() {
    let Some(small) = SmallFileSystem::with_quota() else { return };
    let work = small.at.join("work");
    std::os::unix::fs::symlink(&work, small.setup.folder().join("work")).unwrap();
    let mut fixture = MountFixture::set_up(small.setup.clone(), "").await;
    fill(&fixture, &work, "quota", "quota").await;
    oracle::still_answers(&mut fixture.daemon).await;
}
