//! Entries of a mount that are not files or directories are not opened, and no run waits for them.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use capstan_tests::Setup;
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};
use serde_json::json;
use tokio::task::JoinSet;

use crate::files::disk::MountFixture;
use crate::files::escapes::result_of;
use crate::{CAPSTAN, PROBES, oracle, push_probes};

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[tokio::test]
async fn guests_that_open_fifos_do_not_delay_others() {
    let mut fixture = MountFixture::new().await;
    fifo(&fixture.path("work/fifo"));
    std::fs::write(fixture.path("work/inside"), "inside").unwrap();
    // Opening one of these blocks until another process opens the other end.
    for probe in PROBES {
        fixture.run(probe, json!({}), &["read", "/work/inside"]).await.assert_outcome("exited", 0);
    }
    let threads = fixture.daemon.threads();
    let mut asking = JoinSet::new();
    for turn in 0..160 {
        let args: [&[&str]; 4] = [
            &["read", "/work/fifo"],
            &["put", "/work/fifo", "1", "1"],
            &["at", "/work/fifo", "0", "x"],
            &["append", "/work/fifo", "x"],
        ];
        asking.spawn(fixture.call(PROBES[turn % 2], &json!({"timeout": "60s"}), args[turn / 2 % 4]).send());
    }
    let began = Instant::now();
    let innocent = fixture.run(PROBES[0], json!({"timeout": "60s"}), &["read", "/work/inside"]).await;
    innocent.assert_outcome("exited", 0);
    for reply in asking.join_all().await {
        let framed = reply.frames();
        assert_eq!(result_of(&framed), "no-such-device", "{}", framed.last);
    }
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    // Threads for file operations come and go. Threads blocked in an open would remain, one per guest.
    let now = fixture.daemon.threads();
    assert!(now < threads + 80, "the number of threads grew from {threads} to {now}");
    oracle::still_answers(&mut fixture.daemon).await;
}

/// Preview 1 cannot represent these times, but the type of the file must still be checked.
#[tokio::test]
async fn fifo_with_a_far_timestamp_is_not_opened() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("fifo");
    fifo(&path);
    std::fs::write(folder.path().join("old"), "old").unwrap();
    let far = Timespec { tv_sec: 31_494_784_780_800, tv_nsec: 0 };
    let before_1970 = Timespec { tv_sec: -1_000_000_000, tv_nsec: 999_999_999 };
    for (name, time) in [("fifo", far), ("old", before_1970)] {
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, folder.path().join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let year_10000 = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    assert!(
        std::fs::metadata(&path).unwrap().modified().unwrap() > year_10000,
        "the file system must support such times"
    );
    let toml = format!("[mounts.far]\npath = \"{}\"\naccess = \"rw\"\n", folder.path().display());
    let mut daemon = Setup::new(CAPSTAN).config(&toml).start();
    let client = daemon.client();
    push_probes(&client).await;
    let run_probe = async |probe: &str, args: &[&str]| {
        let policy = json!({"mounts": [{"name": "far", "access": "rw"}], "timeout": "60s"});
        let call = client.run(probe).query("policy", &policy.to_string());
        args.iter().fold(call, |call, arg| call.arg(arg)).framed().send().await.frames()
    };
    for (probe, code) in PROBES.iter().zip(["overflow", "no-such-device"]) {
        for args in [&["read", "/far/fifo"][..], &["at", "/far/fifo", "0", "x"]] {
            assert_eq!(result_of(&run_probe(probe, args).await), code, "{probe} {args:?}");
        }
        let framed = run_probe(probe, &["read", "/far/old"]).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "old", "{probe}");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn kernel_links_and_devices_are_not_opened_in_mounted_proc_and_dev() {
    let toml = "[mounts.proc]\npath = \"/proc\"\n[mounts.dev]\npath = \"/dev\"\n";
    let mut daemon = Setup::new(CAPSTAN).config(toml).start();
    let client = daemon.client();
    push_probes(&client).await;
    let policy = json!({"mounts": [{"name": "proc"}, {"name": "dev"}], "timeout": "60s"}).to_string();
    for probe in PROBES {
        for (path, code) in [
            ("/proc/self/fd/0", "loop"),
            ("/proc/self/fd/3", "loop"),
            ("/proc/self/exe", "loop"),
            ("/proc/self/root/etc/passwd", "loop"),
            ("/proc/self/cwd/Cargo.toml", "loop"),
            ("/proc/self/ns/mnt", "loop"),
            ("/dev/null", "no-such-device"),
            ("/dev/zero", "no-such-device"),
            ("/dev/tty", "no-such-device"),
            // An absolute symlink into /proc.
            ("/dev/stdin", "not-permitted"),
        ] {
            let call = client.run(probe).query("policy", &policy).arg("read").arg(path);
            assert_eq!(result_of(&call.framed().send().await.frames()), code, "{probe} {path}");
        }
    }
    oracle::still_answers(&mut daemon).await;
}
