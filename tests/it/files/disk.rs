//! Disk quotas: limits on bytes and files that runs write to their mounts, with preview 1 and 0.2, and how they are reported.

use std::fs;
use std::path::PathBuf;

use capstan_tests::frames::Framed;
use capstan_tests::{Call, Client, Daemon, Setup, foreach_guest, guests};
use serde_json::{Value, json};

use crate::{CAPSTAN, PROBES, oracle, push_probes};

foreach_guest!(disk, tested);

/// A daemon with both probes and the mounts `work` and `more` for writing, and `conf`, one file.
pub(crate) struct MountFixture {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
}

impl MountFixture {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// Like `new`, with more configuration. `@` in it stands for the directory of the daemon.
    pub(crate) async fn with(toml: &str) -> Self {
        Self::set_up(Setup::new(CAPSTAN), toml).await
    }

    /// Like `with`, for a given setup.
    pub(crate) async fn set_up(setup: Setup, toml: &str) -> Self {
        for name in ["work", "more"] {
            fs::create_dir_all(setup.folder().join(name)).unwrap();
        }
        fs::write(setup.folder().join("file"), "content").unwrap();
        let toml = format!(
            "{toml}\n[mounts.work]\npath = \"@/work\"\naccess = \"rw\"\n[mounts.more]\npath = \"@/more\"\naccess = \"rw\"\n\
             [mounts.conf]\npath = \"@/file\"\naccess = \"rw\"\n"
        );
        let toml = toml.replace('@', setup.folder().to_str().unwrap());
        let daemon = setup.config(&toml).start();
        let client = daemon.client();
        push_probes(&client).await;
        Self { daemon, client }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.daemon.setup().folder().join(name)
    }

    pub(crate) fn size(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().len()
    }

    /// Creates a run of a handler with `/work` for writing and the additional policy `requested`.
    pub(crate) fn call(&self, handler: &str, requested: &Value, args: &[&str]) -> Call {
        let mut policy = json!({"mounts": [{"name": "work", "access": "rw"}]});
        policy.as_object_mut().unwrap().extend(requested.as_object().unwrap().clone());
        let call = self.client.run(handler).query("policy", &policy.to_string());
        args.iter().fold(call, |call, arg| call.arg(arg)).framed()
    }

    /// Like `call`, and runs it to its end.
    pub(crate) async fn run(&self, handler: &str, requested: Value, args: &[&str]) -> Framed {
        self.call(handler, &requested, args).send().await.frames()
    }
}

/// Checks that a run ended because it reached a disk limit.
#[track_caller]
pub(crate) fn assert_disk_cap(framed: &Framed, outcome: &Value) {
    framed.assert_outcome("disk_cap", 137);
    assert_eq!(framed.outcome(), outcome);
}

pub(crate) fn byte_cap(limit: u64) -> Value {
    json!({"kind": "disk_cap", "what": "bytes", "limit": limit})
}

pub(crate) fn file_cap(limit: u64) -> Value {
    json!({"kind": "disk_cap", "what": "files", "limit": limit})
}

#[tokio::test]
async fn disk_limit_is_exact_for_one_write_and_for_many() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        for (count, piece, limit) in [
            (1_000_000, 1_000_000, 100_001),
            (1_000_000, 65_536, 999_999),
            (300_000, 4_096, 65_537),
            (10_000, 7, 999),
            (100, 1, 99),
            (10, 10, 0),
        ] {
            let (name, file) = (format!("/work/{probe}"), format!("work/{probe}"));
            let args = ["put", &name, &count.to_string(), &piece.to_string()];
            let framed = fixture.run(probe, json!({"disk": limit}), &args).await;
            assert_disk_cap(&framed, &byte_cap(limit));
            assert_eq!(fixture.size(&file), limit, "{probe}: {count} bytes in pieces of {piece}");
            assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], limit);
            fixture.run(probe, json!({"disk": count}), &args).await.assert_outcome("exited", 0);
            assert_eq!(fixture.size(&file), count, "{probe}: the file fits exactly");
        }
    }
}

#[tokio::test]
async fn renumbered_descriptor_and_far_offset() {
    let fixture = MountFixture::new().await;
    fixture.client.push("far", guests::disk::RENUMBERED_DESCRIPTOR_AND_FAR_OFFSET).await;
    assert_disk_cap(&fixture.run("far", json!({"disk": 8}), &[]).await, &byte_cap(8));
    assert_eq!(fs::read_to_string(fixture.path("work/file")).unwrap(), "12345123");
    // The guest exits with the code of EDQUOT. The outcome replaces that exit code.
    let framed = fixture.run("far", json!({"disk": 9}), &[]).await;
    framed.assert_outcome("exited", 95);
}

#[tokio::test]
async fn run_limit_is_shared_by_mounts_and_each_mount_has_its_own() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        let requested = json!({"disk": 250, "mounts": [
            {"name": "work", "access": "rw", "disk": 100}, {"name": "more", "access": "rw"},
        ]});
        let paths = ["spread", "80", "/work/a", "/work/b", "/work/c", "/more/a", "/more/b", "/more/c"];
        let framed = fixture.run(probe, requested, &paths).await;
        // The guest continued after the errors and exited normally.
        framed.assert_outcome("exited", 0);
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "yes\nno\nno\nyes\nno\nno\n", "{probe}");
        let sizes = |folder: &str| ["a", "b", "c"].map(|name| fixture.size(&format!("{folder}/{name}")));
        assert_eq!((sizes("work"), sizes("more")), ([80, 20, 0], [80, 70, 0]), "{probe}");
        let requested = json!({"mounts": [{"name": "work", "access": "rw", "disk": 5}]});
        let framed = fixture.run(probe, requested, &["put", "/work/a", "6", "6"]).await;
        assert_disk_cap(&framed, &json!({"kind": "disk_cap", "what": "bytes", "limit": 5, "mount": "/work"}));
    }
}

#[tokio::test]
async fn removed_files_still_count_toward_the_limit() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        let churn = |count| ["churn", "/work/f", count, "100"];
        fixture.run(probe, json!({"disk": 250}), &churn("2")).await.assert_outcome("exited", 0);
        assert_disk_cap(&fixture.run(probe, json!({"disk": 250}), &churn("3")).await, &byte_cap(250));
        assert_eq!(fixture.size("work/f"), 50, "{probe}");
        assert_disk_cap(&fixture.run(probe, json!({"files": 2}), &["churn", "/work/g", "3", "1"]).await, &file_cap(2));
    }
}

#[tokio::test]
async fn rename_and_link_between_mounts_fail() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        fs::write(fixture.path("more/f"), "12345").unwrap();
        let requested =
            json!({"mounts": [{"name": "work", "access": "rw", "disk": 0}, {"name": "more", "access": "rw"}]});
        for how in ["rename", "link"] {
            fixture.run(probe, requested.clone(), &[how, "/more/f", "/work/f"]).await.assert_outcome("exited", 1);
            assert!(!fixture.path("work/f").exists() && fixture.path("more/f").exists(), "{probe} {how}");
        }
    }
}

#[tokio::test]
async fn file_growth_counts_as_written_bytes() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        let file = fixture.path("work/f");
        fs::write(&file, "12345").unwrap();
        assert_disk_cap(&fixture.run(probe, json!({"disk": 100}), &["resize", "/work/f", "106"]).await, &byte_cap(100));
        assert_eq!(fixture.size("work/f"), 5);
        let framed = fixture.run(probe, json!({"disk": 100}), &["resize", "/work/f", "105"]).await;
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], 100);
        fixture.run(probe, json!({"disk": 0}), &["resize", "/work/f", "5"]).await.assert_outcome("exited", 0);
        // Beyond the end of the file, with both methods of writing in the probe: odd offsets use the other one.
        for offset in ["1000000000000", "1000000000001", "4611686018427387904"] {
            assert_disk_cap(
                &fixture.run(probe, json!({"disk": 100}), &["at", "/work/f", offset, "x"]).await,
                &byte_cap(100),
            );
            assert_eq!(fixture.size("work/f"), 5, "{probe} {offset}");
        }
        for (offset, size) in [(9, 10), (50, 51)] {
            let args = ["at", "/work/f", &offset.to_string(), "x"];
            let framed = fixture.run(probe, json!({"disk": 41}), &args).await;
            framed.assert_outcome("exited", 0);
            assert_eq!(fixture.size("work/f"), size);
        }
        let framed = fixture.run(probe, json!({"disk": 3}), &["append", "/work/f", "abcdef"]).await;
        assert_disk_cap(&framed, &byte_cap(3));
        assert_eq!(fixture.size("work/f"), 54, "{probe}");
        // Overwritten bytes count as written.
        assert_disk_cap(&fixture.run(probe, json!({"disk": 1}), &["at", "/work/f", "0", "AB"]).await, &byte_cap(1));
        assert!(fs::read(&file).unwrap().starts_with(b"A2345"), "{probe}");
    }
}

#[tokio::test]
async fn file_limit_counts_files_directories_and_links() {
    let fixture = MountFixture::new().await;
    for probe in PROBES {
        let folder = fixture.path("work");
        let framed = fixture.run(probe, json!({"files": 3}), &["many", "/work/m", "10"]).await;
        assert_disk_cap(&framed, &file_cap(3));
        assert_eq!(framed.stdout.split(|byte| *byte == b'\n').next(), Some(&b"3"[..]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        assert_eq!(framed.last["usage"]["mounts"][0]["files_made"], 3);
        // Existing files do not count.
        fixture.run(probe, json!({"files": 0}), &["many", "/work/m", "3"]).await.assert_outcome("exited", 0);
        fixture.run(probe, json!({"files": 0}), &["rename", "/work/m0", "/work/n"]).await.assert_outcome("exited", 0);
        for make in [&["mkdir", "/work/d"][..], &["symlink", "m1", "/work/s"], &["link", "/work/m1", "/work/l"]] {
            assert_disk_cap(&fixture.run(probe, json!({"files": 0}), make).await, &file_cap(0));
            fixture.run(probe, json!({"files": 1}), make).await.assert_outcome("exited", 0);
            // Now the error is that the entry exists, not the limit.
            fixture.run(probe, json!({"files": 0}), make).await.assert_outcome("exited", 1);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
        // Empty the directory. The mount holds the open directory, so it cannot be replaced.
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

#[tokio::test]
async fn operator_disk_limits_are_a_ceiling() {
    let toml = "[policy]\ndisk = 10\nfiles = 1";
    let fixture = MountFixture::with(toml).await;
    for probe in PROBES {
        let requested = json!({"disk": "1GiB", "files": 1000});
        assert_disk_cap(&fixture.run(probe, requested, &["put", "/work/f", "11", "11"]).await, &byte_cap(10));
        assert_disk_cap(&fixture.run(probe, json!({}), &["many", &format!("/work/{probe}"), "2"]).await, &file_cap(1));
    }
}

#[tokio::test]
async fn fifos_and_sockets_are_not_opened() {
    let mut fixture = MountFixture::new().await;
    let fifo = fixture.path("work/fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("fifo", fixture.path("work/link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(fixture.path("work/socket")).unwrap();
    for probe in PROBES {
        for path in ["/work/fifo", "/work/link", "/work/socket"] {
            for args in [&["read", path][..], &["put", path, "1", "1"], &["at", path, "0", "x"]] {
                let framed = fixture.run(probe, json!({"timeout": "60s"}), args).await;
                framed.assert_outcome("exited", 1);
            }
        }
    }
    oracle::still_answers(&mut fixture.daemon).await;
}

#[tokio::test]
async fn scratch_directory_exists_on_request_and_only_during_the_run() {
    let fixture = MountFixture::new().await;
    let folder = fixture.daemon.setup().folder().join("data/scratch");
    let is_empty = || fs::read_dir(&folder).unwrap().count() == 0;
    for probe in PROBES {
        let put = ["put", "/scratch/f", "100", "10"];
        fixture.run(probe, json!({}), &put).await.assert_outcome("exited", 1);
        let framed = fixture.run(probe, json!({"scratch": 100}), &put).await;
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.last["usage"]["mounts"][1]["guest"], "/scratch");
        assert!(is_empty(), "{probe}: the directory must be gone before the end is reported");
        let framed = fixture.run(probe, json!({"scratch": 99}), &put).await;
        assert_disk_cap(&framed, &json!({"kind": "disk_cap", "what": "bytes", "limit": 99, "mount": "/scratch"}));
        let requested = json!({"scratch": 99, "timeout": "300ms"});
        fixture.run(probe, requested, &["sleep", "3600"]).await.assert_outcome("timed_out", 124);
        capstan_tests::eventually("no scratch directory", async || is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn scratch_of_a_killed_daemon_is_removed_at_the_next_start() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("data", 0o700);
    fs::create_dir_all(data.join("scratch/left/deep")).unwrap();
    fs::write(data.join("scratch/left/deep/file"), "x").unwrap();
    let _daemon = setup.data(&data).start();
    assert_eq!(fs::read_dir(data.join("scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn mounted_file_does_not_expose_its_siblings() {
    let fixture = MountFixture::new().await;
    fs::write(fixture.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("secret", fixture.path("link")).unwrap();
    for probe in PROBES {
        fs::write(fixture.path("file"), "content").unwrap();
        for (guest, path) in [(None, "/conf"), (Some("/etc/app/the.conf"), "/etc/app/the.conf")] {
            let mount = |access: &str| json!({"mounts": [{"name": "conf", "guest": guest, "access": access}]});
            let beside = |name: &str| format!("{}/{name}", path.rsplit_once('/').unwrap().0);
            let read = fixture.run(probe, mount("ro"), &["read", path]).await;
            assert_eq!(String::from_utf8_lossy(&read.stdout), "content", "{probe} {path}: {}", read.last);
            for name in ["file", "secret", "link", "work", "work/x", "../secret", "new", "the.conf/x", "."] {
                fixture.run(probe, mount("ro"), &["read", &beside(name)]).await.assert_outcome("exited", 1);
            }
            let new = beside("new");
            for args in [
                &["put", &new, "1", "1"][..],
                &["mkdir", &new],
                &["symlink", "secret", &new],
                &["link", path, &new],
                &["rename", path, &new],
                &["remove", path],
                &["ls", &beside("")],
            ] {
                fixture.run(probe, mount("rw"), args).await.assert_outcome("exited", 1);
            }
            fixture.run(probe, mount("ro"), &["at", path, "0", "C"]).await.assert_outcome("exited", 1);
            fixture.run(probe, mount("rw"), &["at", path, "0", "C"]).await.assert_outcome("exited", 0);
            assert_eq!(fs::read_to_string(fixture.path("file")).unwrap(), "Content");
            fs::write(fixture.path("file"), "content").unwrap();
        }
        assert!(!fixture.path("new").exists());
        fs::remove_file(fixture.path("file")).unwrap();
        let mount = json!({"mounts": [{"name": "conf", "access": "rw"}]});
        fixture.run(probe, mount, &["put", "/conf", "1", "1"]).await.assert_outcome("exited", 1);
        assert!(!fixture.path("file").exists(), "{probe}: a removed file must not be created again");
    }
}

#[tokio::test]
async fn path_below_a_mount_prefix_is_mounted_on_request() {
    let fixture = MountFixture::with("[[mount_prefixes]]\npath = \"@/more\"\naccess = \"rw\"\ndisk = 5").await;
    fs::create_dir(fixture.path("more/inner")).unwrap();
    std::os::unix::fs::symlink(fixture.path("work"), fixture.path("more/out")).unwrap();
    let path = |name: &str| fixture.path(name).to_str().unwrap().to_owned();
    let mounts = |name: &str| json!({"mounts": [{"path": path(name), "guest": "/d", "access": "rw"}]});
    for probe in PROBES {
        let framed = fixture.run(probe, mounts("more/inner"), &["put", "/d/f", "6", "6"]).await;
        assert_disk_cap(&framed, &json!({"kind": "disk_cap", "what": "bytes", "limit": 5, "mount": "/d"}));
        assert_eq!(fixture.size("more/inner/f"), 5);
    }
    for (name, rule) in [
        ("work", "no mount prefix of the operator contains this path"),
        ("more/out", "it cannot be opened"),
        ("more/nowhere", "it cannot be opened"),
        ("more/../work", "a path must be absolute"),
    ] {
        let call = fixture.client.run("probe.p1").arg("name").query("policy", &mounts(name).to_string());
        let denied = call.send().await;
        denied.error(403, "policy_denied");
        assert!(denied.text().contains(rule), "{name}: {}", denied.text());
    }
}

#[tokio::test]
async fn usage_of_each_mount_is_kept_with_the_job() {
    let fixture = MountFixture::new().await;
    fs::write(fixture.path("work/in"), "0123456789").unwrap();
    for probe in PROBES {
        let policy = json!({"mounts": [{"name": "work", "access": "rw"}, {"name": "more"}]});
        let job = json!({"handler": probe, "args": ["read", "/work/in"], "policy": policy}).to_string();
        let id = fixture.client.post("/v1/jobs").body(job).send().await.json()["id"].as_str().unwrap().to_owned();
        fixture.client.post(&format!("/v1/jobs/{id}/wait")).send().await;
        let reported = fixture.client.get(&format!("/v1/jobs/{id}")).send().await.json();
        let mounts = &reported["runs"][0]["usage"]["mounts"];
        assert_eq!(mounts[0]["guest"], "/work", "{reported}");
        assert_eq!((&mounts[0]["read_bytes"], &mounts[0]["written_bytes"]), (&json!(10), &json!(0)), "{probe}");
        assert!(mounts[0]["operations"].as_u64().unwrap() >= 2, "{mounts}");
        assert_eq!(mounts[1]["operations"], 0, "{mounts}");
    }
}

#[tokio::test]
async fn invalid_mount_is_reported_and_the_daemon_does_not_start() {
    let setup = Setup::new(CAPSTAN);
    let at = |name: &str| setup.folder().join(name);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    for (path, why) in [
        (at("fifo"), "it is a FIFO"),
        (at("socket"), "it is a socket"),
        ("/dev/null".into(), "it is a device"),
        (at("dangling"), "No such file"),
        (at("missing"), "No such file"),
    ] {
        let toml = format!("[mounts.data]\npath = \"{}\"\n", path.display());
        let refused = setup.clone().config(&toml).start_must_fail();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let last = refused.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("cannot open mount data") && last.contains(why), "{last}");
    }
    let refused = setup.clone().config("[mounts.\"../x\"]\npath = \"/tmp\"\n").start_must_fail();
    assert!(refused.stderr.contains("cannot be a path in the guest"), "{refused:?}");
    let refused = setup.config("[[mount_prefixes]]\npath = \"tmp\"\n").start_must_fail();
    assert!(refused.stderr.contains("not an absolute path"), "{refused:?}");
}
