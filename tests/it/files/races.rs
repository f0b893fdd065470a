//! The host repeatedly exchanges an entry that a guest opens with a symlink that leads out of the mount.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::files::disk::MountFixture;
use crate::files::escapes::snapshot;
use crate::{PROBES, oracle};

/// The minimum number of exchanges.
const EXCHANGES: u32 = 100_000;

/// The minimum number of reads during the exchanges.
const READS: u32 = 1000;

/// A thread that exchanges two names until it is dropped.
struct Exchanger {
    count: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchanger {
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

impl Drop for Exchanger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the thread failed to exchange the names");
    }
}

/// With `..` in the path, the kernel's own lookup fails if a rename happens at the same time, and the library resolves step by step.
#[tokio::test]
async fn entry_exchanged_with_a_symlink_does_not_lead_outside() {
    let mut fixture = MountFixture::new().await;
    for folder in ["outside", "work/swapped"] {
        fs::create_dir(fixture.path(folder)).unwrap();
    }
    for (file, content) in [("outside/file", "outside"), ("work/swapped/file", "inside"), ("work/one", "inside")] {
        fs::write(fixture.path(file), content).unwrap();
    }
    symlink("../outside", fixture.path("work/way-out")).unwrap();
    symlink("../outside/file", fixture.path("work/other")).unwrap();
    let before = snapshot(&fixture.path("outside"));
    for (names, path) in [
        (["swapped", "way-out"], "/work/swapped/file"),
        (["swapped", "way-out"], "/work/swapped/../swapped/file"),
        (["one", "other"], "/work/one"),
    ] {
        for probe in PROBES {
            let [one, other] = names.map(|name| fixture.path("work").join(name));
            let exchanging = Exchanger::of(one, other);
            let (mut inside, mut failed) = (0, 0);
            while !exchanging.is_done() || inside + failed < READS || inside == 0 || failed == 0 {
                let requested = json!({"files": 10_000_000, "timeout": "60s"});
                let framed = fixture.run(probe, requested, &["race", path, "500"]).await;
                framed.assert_outcome("exited", 0);
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
            assert_eq!(snapshot(&fixture.path("outside")), before, "{probe} {path}");
        }
    }
    oracle::still_answers(&mut fixture.daemon).await;
}
