//! The host exchanges what a guest opens for a way out, all the while.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::files::disk::Granting;
use crate::files::escapes::look;
use crate::{PROBES, oracle};

/// How often two names change their places, at least.
const EXCHANGES: u32 = 100_000;

/// How often each is read meanwhile, at least.
const READS: u32 = 1000;

/// A thread that exchanges what two names stand for, until it is dropped.
struct Exchanging {
    count: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchanging {
    fn of(one: PathBuf, other: PathBuf) -> Self {
        let (count, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (count.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { count, stop, thread: Some(thread) }
    }

    fn is_done(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= EXCHANGES
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the names could not be exchanged");
    }
}

/// A path with `..` makes the kernel's own look-up give up when something is renamed meanwhile, and the library go step by step.
#[tokio::test]
async fn a_directory_or_file_that_is_exchanged_for_a_symlink_leads_nowhere() {
    let mut granting = Granting::new().await;
    for folder in ["outside", "work/swapped"] {
        fs::create_dir(granting.path(folder)).unwrap();
    }
    for (file, content) in [("outside/file", "outside"), ("work/swapped/file", "inside"), ("work/one", "inside")] {
        fs::write(granting.path(file), content).unwrap();
    }
    symlink("../outside", granting.path("work/way-out")).unwrap();
    symlink("../outside/file", granting.path("work/other")).unwrap();
    let before = look(&granting.path("outside"));
    for (names, path) in [
        (["swapped", "way-out"], "/work/swapped/file"),
        (["swapped", "way-out"], "/work/swapped/../swapped/file"),
        (["one", "other"], "/work/one"),
    ] {
        for probe in PROBES {
            let [one, other] = names.map(|name| granting.path("work").join(name));
            let exchanging = Exchanging::of(one, other);
            let (mut inside, mut failed) = (0, 0);
            while !exchanging.is_done() || inside + failed < READS || inside == 0 || failed == 0 {
                let asked = json!({"files": 10_000_000, "timeout": "60s"});
                let framed = granting.ask(probe, asked, &["race", path, "500"]).await;
                framed.ended("exited", 0);
                for line in String::from_utf8(framed.stdout).unwrap().lines() {
                    let (count, what) = line.split_once(' ').unwrap();
                    let count: u32 = count.parse().unwrap();
                    match what {
                        "inside" => inside += count,
                        other => {
                            assert!(other.starts_with("error: "), "{probe} {path}: {other:?} was read {count} times");
                            failed += count;
                        }
                    }
                }
            }
            assert_eq!(look(&granting.path("outside")), before, "{probe} {path}");
        }
    }
    oracle::still_answers(&mut granting.daemon).await;
}
