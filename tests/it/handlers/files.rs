//! Files of handlers: pushed as an archive, mounted read-only at `/app`, shared by content, and removed with their last user.

use std::fs;
use std::path::PathBuf;

use capstan_tests::{Client, Daemon, Reply, Setup, eventually, guests};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::{BOUNDARY, multipart};
use crate::jobs::api::{output_of, submit, wait_for_end};
use crate::{CAPSTAN, PROBES, oracle};

/// Returns a tar archive of files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Returns a tar archive with one entry without content.
fn archive_of(kind: EntryType, name: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    header.set_cksum();
    [header.as_bytes(), &[0; 1024][..]].concat()
}

pub(crate) async fn push(client: &Client, name: &str, parts: &[(&str, &[u8])]) -> Reply {
    let call = client.put(&format!("/v1/handlers/{name}"), multipart(parts));
    call.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).send().await
}

async fn push_files(client: &Client, name: &str, probe: &str, files: &[u8]) -> Reply {
    let reply = push(client, name, &[("module", &guests::compiled(probe)), ("files", files)]).await;
    assert!([200, 201].contains(&reply.status), "{reply:?}");
    reply
}

fn file_sets(daemon: &Daemon) -> Vec<PathBuf> {
    let folder = daemon.setup().folder().join("data/files");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn until_file_sets(daemon: &Daemon, count: usize) {
    eventually(&format!("{count} sets of files to be left"), async || (file_sets(daemon).len() == count).then_some(()))
        .await;
}

async fn read(client: &Client, name: &str, path: &str) -> String {
    let reply = client.run(name).arg("read").arg(path).send().await;
    reply.assert_outcome("exited", 0);
    reply.text().to_owned()
}

#[tokio::test]
async fn files_are_found_at_app_by_synchronous_and_durable_jobs_across_restarts() {
    let mut daemon = Daemon::start(CAPSTAN);
    let files = archive(&[("a b/ü.txt", b"deep"), ("top.txt", b"top")]);
    for probe in PROBES {
        let pushed = push_files(&daemon.client(), probe, probe, &files).await.json();
        assert_eq!((&pushed["files"]["size"], &pushed["files"]["entries"]), (&json!(7), &json!(3)), "{pushed}");
    }
    assert_eq!(file_sets(&daemon).len(), 1, "both have the same files");
    for round in 0..2 {
        let client = daemon.client();
        for probe in PROBES {
            assert_eq!(read(&client, probe, "/app/a b/ü.txt").await, "deep", "{probe} {round}");
            let id = submit(&client, &json!({"handler": probe, "args": ["read", "/app/top.txt"]})).await;
            assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
            assert_eq!(output_of(&client, &id).await, "top");
        }
        if round == 0 {
            daemon = daemon.kill_and_restart().await.0;
        }
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn files_cannot_be_changed_or_left_by_a_run() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    for probe in PROBES {
        push_files(&client, "guest", probe, &archive(&[("f", b"1"), ("d/g", b"2")])).await;
        for args in [
            &["write", "/app/f", "x"][..],
            &["write", "/app/new", "x"],
            &["mkdir", "/app/new"],
            &["remove", "/app/f"],
            &["rename", "/app/f", "/app/g"],
            &["symlink", "f", "/app/l"],
            &["resize", "/app/f", "0"],
            &["read", "/app/../../keys/artifacts"],
            &["read", "/app/../keys/artifacts"],
        ] {
            let call = args.iter().fold(client.run("guest"), |call, arg| call.arg(arg));
            let reply = call.send().await;
            assert_ne!(reply.trailer("capstan-exit-code"), Some("0"), "{probe} {args:?}: {reply:?}");
        }
        assert_eq!(read(&client, "guest", "/app/f").await, "1");
        let [set] = &file_sets(&daemon)[..] else { panic!("one set of files") };
        assert_eq!(fs::read_dir(set).unwrap().count(), 2);
    }
}

#[tokio::test]
async fn mount_of_a_job_cannot_overlap_the_files() {
    let daemon = Setup::new(CAPSTAN).config("[[mount_prefixes]]\npath = \"/usr\"\n").start();
    let client = daemon.client();
    push_files(&client, "guest", "probe.p1", &archive(&[("f", b"1")])).await;
    for guest in ["/app", "/app/x", "/"] {
        let policy = json!({"mounts": [{"path": "/usr", "guest": guest}]});
        let job = json!({"handler": "guest", "policy": policy});
        let message = client.post("/v1/jobs").body(job.to_string()).send().await.error(400, "bad_mount");
        assert!(message.contains("/app"), "{message}");
    }
}

#[tokio::test]
async fn files_are_removed_with_the_last_handler_or_job_that_has_them() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let (one, two) = (archive(&[("f", b"one")]), archive(&[("f", b"two")]));
    push_files(&client, "a", "probe.p1", &one).await;
    push_files(&client, "b", "probe.p1", &one).await;
    push_files(&client, "a", "probe.p1", &two).await;
    assert_eq!(file_sets(&daemon).len(), 2);
    assert_eq!(client.delete("/v1/handlers/b").send().await.status, 204);
    until_file_sets(&daemon, 1).await;

    // A job that has started, and one that waits, keep the files of the handler that they were submitted for.
    let (call, feed) = client.run("a").arg("cat").streaming_body();
    let mut running = call.open().await;
    feed.send("x").await;
    assert_eq!(running.read_at_least(1).await, "x");
    assert_eq!(client.delete("/v1/handlers/a").send().await.status, 204);
    push_files(&client, "c", "probe.p1", &one).await;
    assert_eq!(client.delete("/v1/handlers/c").send().await.status, 204);
    until_file_sets(&daemon, 1).await;
    let [set] = &file_sets(&daemon)[..] else { panic!("one set of files") };
    assert_eq!(fs::read(set.join("f")).unwrap(), b"two");
    drop(feed);
    running.finish().await.assert_outcome("exited", 0);
    until_file_sets(&daemon, 0).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn job_of_a_replaced_handler_reads_its_old_files() {
    let daemon = Setup::new(CAPSTAN).config("[limits]\nruns = 1").start();
    let client = daemon.client();
    push_files(&client, "guest", "probe.p1", &archive(&[("f", b"old")])).await;
    client.push("cat", guests::run::CAT).await;
    let (call, feed) = client.run("cat").streaming_body();
    let mut blocker = call.open().await;
    feed.send("x").await;
    assert_eq!(blocker.read_at_least(1).await, "x");
    // It waits for the only slot.
    let job = json!({"handler": "guest", "args": ["read", "/app/f"], "durable": false});
    let id = submit(&client, &job).await;
    push_files(&client, "guest", "probe.p1", &archive(&[("f", b"new")])).await;
    drop(feed);
    blocker.finish().await.assert_outcome("exited", 0);
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
    assert_eq!(output_of(&client, &id).await, "old");
    until_file_sets(&daemon, 1).await;
    assert_eq!(read(&client, "guest", "/app/f").await, "new");
}

#[tokio::test]
async fn invalid_files_are_rejected_and_leave_nothing() {
    let mut daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let module = guests::compiled("hello.p1");
    push(&client, "guest", &[("module", &module), ("files", &archive(&[("f", b"1")]))]).await;
    let before = client.get("/v1/handlers/guest").send().await.json();
    let twice = [archive(&[("f", b"1")])[..1024].to_vec(), archive(&[("f", b"2")])].concat();
    let cut = archive(&[("f", &[b'x'; 5000])])[..2000].to_vec();
    let cases = [
        (archive_of(EntryType::Regular, b"../x"), ".."),
        (archive_of(EntryType::Regular, b"/etc/x"), "absolute"),
        (archive_of(EntryType::Symlink, b"x"), "symlink"),
        (archive_of(EntryType::Link, b"x"), "hard link"),
        (archive_of(EntryType::Char, b"x"), "device"),
        (archive_of(EntryType::Fifo, b"x"), "FIFO"),
        (archive_of(EntryType::GNUSparse, b"x"), "spars"),
        (archive_of(EntryType::Regular, b"\xff"), "UTF-8"),
        (twice, "more than once"),
        (cut, "cut off"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "gzip"),
        (vec![b'x'; 4096], "tar"),
        (Vec::new(), "no files"),
    ];
    for (files, expected) in cases {
        let message =
            push(&client, "guest", &[("module", &module), ("files", &files)]).await.error(422, "invalid_files");
        assert!(message.contains(expected), "{message}");
        assert_eq!(client.get("/v1/handlers/guest").send().await.json(), before, "{message}");
    }
    until_file_sets(&daemon, 1).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn files_over_a_limit_are_rejected() {
    let mut daemon = Setup::new(CAPSTAN).config("[files]\nsize = \"64KiB\"\nentries = 10").start();
    let client = daemon.client();
    let module = guests::compiled("hello.p1");
    let push = async |files: &[u8]| push(&client, "guest", &[("module", &module), ("files", files)]).await;
    let exact = vec![b'x'; 64 << 10];
    assert_eq!(push(&archive(&[("f", &exact)])).await.status, 201);
    let message = push(&archive(&[("f", &exact), ("g", b"x")])).await.error(413, "files_too_large");
    assert!(message.contains("64.0 KiB") && message.contains("[files]"), "{message}");
    // More than any archive of so many bytes can have.
    push(&archive(&[("f", &vec![0; 300 << 10])])).await.error(413, "files_too_large");
    let names: Vec<_> = (0..11).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let message = push(&archive(&many)).await.error(413, "files_too_large");
    assert!(message.contains("10 files"), "{message}");
    assert_eq!(push(&archive(&many[..10])).await.status, 200);
    until_file_sets(&daemon, 1).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn version_of_a_handler_changes_with_its_files() {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    let etag = |reply: &Reply| reply.header("etag").unwrap().to_owned();
    let one = etag(&push_files(&client, "guest", "hello.p1", &archive(&[("f", b"1"), ("g", b"2")])).await);
    let same = etag(&push_files(&client, "guest", "hello.p1", &archive(&[("g", b"2"), ("f", b"1")])).await);
    assert_eq!(one, same, "the order does not count");
    let two = etag(&push_files(&client, "guest", "hello.p1", &archive(&[("f", b"2"), ("g", b"2")])).await);
    assert_ne!(one, two);
    client.delete("/v1/handlers/guest").header("if-match", &one).send().await.error(412, "precondition_failed");
    assert_eq!(client.delete("/v1/handlers/guest").header("if-match", &two).send().await.status, 204);
}

#[tokio::test]
async fn run_without_its_files_is_refused_until_they_are_pushed_again() {
    let daemon = Daemon::start(CAPSTAN);
    let files = archive(&[("f", b"1")]);
    push_files(&daemon.client(), "guest", "probe.p1", &files).await;
    let setup = daemon.setup();
    for set in file_sets(&daemon) {
        fs::remove_dir_all(set).unwrap();
    }
    drop(daemon);
    let daemon = setup.start();
    let client = daemon.client();
    let framed = client.run("guest").framed().send().await.frames();
    framed.assert_outcome("refused", 125);
    assert!(framed.outcome()["why"].as_str().unwrap().contains("push it again"), "{:?}", framed.outcome());
    push_files(&client, "guest", "probe.p1", &files).await;
    assert_eq!(read(&client, "guest", "/app/f").await, "1");
}
