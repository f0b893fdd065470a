//! File systems that are full, or whose own quota is spent: the guest is told, its run has failed of that, and nobody else has.
//!
//! They are mounted for the test, which not every tester may do; where it cannot be done, that is said on stderr and nothing is tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_tests::Setup;
use serde_json::{Value, json};

use crate::files::disk::Granting;
use crate::files::escapes::told;
use crate::{CAPSTAN, PROBES, oracle};

/// A small file system, mounted below the folder of a setup until this is dropped.
struct Small {
    at: PathBuf,
    setup: Setup,
}

impl Small {
    /// One of a mebibyte and few files, in the place of the folder `work`.
    fn full() -> Option<Self> {
        let setup = Setup::new(CAPSTAN);
        let small = Self::at(setup, "work");
        commands(&[&["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=24", "small", small.path()]]).then_some(small)
    }

    /// One in which the folder `work` has a quota of a mebibyte.
    fn with_quota() -> Option<Self> {
        let setup = Setup::new(CAPSTAN);
        let image = setup.folder().join("image");
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let small = Self::at(setup, "btrfs");
        let work = small.at.join("work");
        let work = work.to_str().unwrap();
        let made = commands(&[
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

impl Drop for Small {
    fn drop(&mut self) {
        // It fails where it was never mounted.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

/// Runs these commands, as far as they succeed.
fn commands(all: &[&[&str]]) -> bool {
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

fn capped(what: &str, file_system: &str) -> Value {
    json!({"kind": "disk_cap", "what": what, "file_system": file_system, "mount": "/work"})
}

/// Fills `work` by every way to write, and checks what is told and what is accounted for.
async fn fill(granting: &Granting, work: &Path, file_system: &str, code: &str) {
    let file = work.join("big");
    let size = || fs::metadata(&file).map_or(0, |there| there.len());
    for probe in PROBES {
        for args in [
            &["put", "/work/big", "4194304", "65536"][..],
            &["put", "/work/big", "4194304", "4194304"],
            &["put", "/work/big", "4194304", "4095"],
        ] {
            let framed = granting.ask(probe, json!({}), args).await;
            framed.ended("disk_cap", 137);
            assert_eq!(
                (framed.outcome(), told(&framed).as_str()),
                (&capped("bytes", file_system), code),
                "{probe} {args:?}"
            );
            let usage = &framed.last["usage"]["mounts"][0];
            assert_eq!(
                (&usage["written_bytes"], &usage["files_made"]),
                (&json!(size()), &json!(1)),
                "{probe} {args:?}"
            );
            assert!((1 << 16..=1 << 20).contains(&size()), "{} bytes fitted", size());
            // Who goes on, and comes to a good end, has not failed.
            let framed = granting
                .ask(
                    probe,
                    json!({"mounts": [
                        {"name": "work", "access": "rw"}, {"name": "more", "access": "rw"},
                    ]}),
                    &["spread", "2000000", "/work/small", "/more/small"],
                )
                .await;
            framed.ended("exited", 0);
            assert_eq!(String::from_utf8_lossy(&framed.stdout), "no\nyes\n", "{probe}");
            let before = size();
            let framed = granting.ask(probe, json!({}), &["append", "/work/big", &"x".repeat(5000)]).await;
            assert_eq!((framed.kind(), told(&framed).as_str()), ("disk_cap", code), "{probe}");
            assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], size() - before, "{probe}");
            for name in ["big", "small"] {
                // Where there was no room for it, it was not made.
                let _ = fs::remove_file(work.join(name));
            }
        }
        // The run's own limit comes first where it is less.
        let framed = granting.ask(probe, json!({"disk": 1000}), &["put", "/work/big", "4194304", "65536"]).await;
        assert_eq!(framed.outcome(), &json!({"kind": "disk_cap", "what": "bytes", "limit": 1000}), "{probe}");
        fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_full_file_system_is_told_to_the_guest_and_hurts_nobody_else() {
    let Some(small) = Small::full() else { return };
    let mut granting = Granting::set_up(small.setup.clone(), "").await;
    fill(&granting, &small.at, "full", "insufficient-space").await;
    for probe in PROBES {
        let framed = granting.ask(probe, json!({}), &["many", "/work/m", "100"]).await;
        framed.ended("disk_cap", 137);
        assert_eq!(framed.outcome(), &capped("files", "full"), "{probe}");
        let there = fs::read_dir(&small.at).unwrap().count();
        assert_eq!(framed.last["usage"]["mounts"][0]["files_made"], there);
        for make in [&["mkdir", "/work/d"][..], &["symlink", "m0", "/work/s"], &["link", "/work/m0", "/work/l"]] {
            let framed = granting.ask(probe, json!({}), make).await;
            assert_eq!(
                (framed.outcome(), told(&framed).as_str()),
                (&capped("files", "full"), "insufficient-space"),
                "{probe} {make:?}"
            );
        }
        for entry in fs::read_dir(&small.at).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    oracle::still_answers(&mut granting.daemon).await;
}

#[tokio::test]
async fn a_quota_of_the_file_systems_own_is_told_as_one() {
    let Some(small) = Small::with_quota() else { return };
    let work = small.at.join("work");
    std::os::unix::fs::symlink(&work, small.setup.folder().join("work")).unwrap();
    let mut granting = Granting::set_up(small.setup.clone(), "").await;
    fill(&granting, &work, "quota", "quota").await;
    oracle::still_answers(&mut granting.daemon).await;
}
