//! A disk that is full, that fails, or that cannot be written.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_tests::{Client, Setup, eventually, guests};
use serde_json::json;

use super::{check_store, preload};
use crate::CAPSTAN;
use crate::jobs::api::{inspect, post, submit, wait_for_end};

/// Submissions until the disk must have refused one.
const MOST: usize = 2000;

/// Submits jobs until one is refused. Returns those that were accepted.
async fn submit_until_refused(client: &Client) -> Vec<String> {
    let mut accepted = Vec::new();
    for _ in 0..MOST {
        let reply = post(client, &json!({"handler": "cat", "stdin": "x".repeat(20_000)})).await;
        if reply.status != 202 {
            let message = reply.error(507, "disk_full");
            assert!(message.contains("make room"), "{message}");
            return accepted;
        }
        accepted.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    panic!("the disk was never full");
}

/// Submits a job as soon as there is space for it.
async fn submit_when_possible(client: &Client) -> String {
    eventually("a job to be accepted", async || {
        let reply = post(client, &json!({"handler": "cat", "stdin": "later"})).await;
        if reply.status == 202 {
            return Some(reply.json()["id"].as_str().unwrap().to_owned());
        }
        reply.error(507, "disk_full");
        None
    })
    .await
}

/// What was accepted before and while the disk is full runs when there is space, without a restart, and is there after a crash.
async fn assert_goes_on_after(setup: Setup, data: &Path, fill: impl Fn(), free: impl Fn()) {
    let daemon = setup.clone().start();
    let client = daemon.client();
    client.push("cat", guests::run::CAT).await;
    let before = submit(&client, &json!({"handler": "cat", "stdin": "before"})).await;
    wait_for_end(&client, &before).await;
    fill();
    let mut accepted = submit_until_refused(&client).await;
    assert_eq!(inspect(&client, &before).await["exit_code"], 0, "what is there can be read");
    client.get("/v1/_ping").send().await;
    free();
    accepted.push(submit_when_possible(&client).await);
    accepted.push(before);
    for id in &accepted {
        assert_eq!(wait_for_end(&client, id).await["exit_code"], 0);
    }
    let ends = async |client: &Client| {
        let mut ends = Vec::new();
        for id in &accepted {
            ends.push(inspect(client, id).await);
        }
        ends
    };
    let ended = ends(&client).await;
    let (daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(ends(&client).await, ended);
    drop(daemon);
    let check = check_store(data).await;
    assert_eq!(check.code, Some(0), "{}{}", String::from_utf8_lossy(&check.stdout), check.stderr);
}

/// A directory of a setup on a file system of its own, until this is dropped.
struct Mount(PathBuf);

impl Mount {
    /// Runs commands that mount something. Returns `None` if the tester is not root, who alone may.
    ///
    /// # Panics
    /// If the tester is root and a command fails.
    fn new(at: &Path, commands: &[&[&str]]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("only root can mount a file system, so this is not tested here");
            return None;
        }
        let mount = Self(at.to_owned());
        for words in commands {
            let done = Command::new(words[0]).args(&words[1..]).arg(at).output().unwrap();
            assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Some(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // This fails if it was never mounted.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[tokio::test]
async fn jobs_are_refused_while_the_file_system_is_full() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("data", 0o700);
    let tmpfs = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "small"];
    let Some(_mount) = Mount::new(&data, &[&tmpfs]) else { return };
    let filler = data.join("filler");
    let fill = || {
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    assert_goes_on_after(setup, &data, fill, || fs::remove_file(&filler).unwrap()).await;
}

/// The same for testers who may not mount: a library refuses writes.
#[tokio::test]
async fn jobs_are_refused_while_writes_find_no_space() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("data", 0o700);
    let full = setup.folder().join("full");
    let setup = setup.env("LD_PRELOAD", preload::faults()).env("FAULT_DIR", &data);
    let setup = setup.env("FAULT_KIND", "enospc").env("FAULT_WHILE", &full);
    let fill = || fs::write(&full, "").unwrap();
    assert_goes_on_after(setup, &data, fill, || fs::remove_file(&full).unwrap()).await;
}

#[tokio::test]
async fn daemon_stops_when_its_disk_fails_and_loses_nothing() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("data", 0o700);
    let fails = setup.folder().join("fails");
    let faulty = setup.clone().env("LD_PRELOAD", preload::faults()).env("FAULT_DIR", &data);
    let mut daemon = faulty.env("FAULT_KIND", "eio").env("FAULT_WHILE", &fails).start();
    let client = daemon.client();
    client.push("cat", guests::run::CAT).await;
    client.post("/v1/queues/cat/pause").send().await;
    let mut accepted = Vec::new();
    for number in 0..20 {
        accepted.push(submit(&client, &json!({"handler": "cat", "stdin": format!("{number}")})).await);
    }
    fs::write(&fails, "").unwrap();
    let refused =
        client.post("/v1/jobs").body(json!({"handler": "cat", "key": "refused"}).to_string()).try_open().await;
    if let Ok(exchange) = refused {
        let reply = exchange.finish().await;
        assert!([500, 503].contains(&reply.status), "{reply:?}");
        assert!(reply.json()["error"]["code"].is_string());
    }
    assert_eq!(daemon.wait_exit().await.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("refuses changes until the daemon restarts"), "{}", daemon.log());
    drop(daemon);
    let daemon = setup.start();
    let client = daemon.client();
    client.post("/v1/queues/cat/resume").send().await;
    for (number, id) in accepted.iter().enumerate() {
        assert_eq!(wait_for_end(&client, id).await["exit_code"], 0);
        assert_eq!(crate::jobs::api::output_of(&client, id).await, number.to_string());
    }
}

#[tokio::test]
async fn read_only_file_system_is_refused_at_the_start() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder_with_mode("data", 0o700);
    let daemon = setup.clone().start();
    let client = daemon.client();
    client.push("cat", guests::run::CAT).await;
    let id = submit(&client, &json!({"handler": "cat", "stdin": "x"})).await;
    let ended = wait_for_end(&client, &id).await;
    drop(daemon);
    let path = data.to_str().unwrap();
    let commands: [&[&str]; 2] = [&["mount", "--bind", path], &["mount", "-o", "remount,bind,ro"]];
    let Some(mount) = Mount::new(&data, &commands) else { return };
    let refused = setup.clone().start_must_fail();
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert_eq!(refused.status.code(), Some(1), "{last}");
    assert!(last.contains(path) && last.contains("Read-only file system"), "{last}");
    drop(mount);
    let daemon = setup.start();
    assert_eq!(inspect(&daemon.client(), &id).await, ended, "the refused start has changed nothing");
}
