//! Many guests that keep files open while many clients are connected.

use capstan_tests::{Feed, Raw, Reply, eventually};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use crate::files::disk::MountFixture;
use crate::{PROBES, oracle};

const GUESTS: usize = 100;
const CLIENTS: usize = 1000;
/// The number of files that each guest keeps open, close to its limit of 128 handles together with its mount and streams.
const FILES_PER_GUEST: usize = 110;

/// The limit of open files for a daemon whose guests want more than that.
const FILE_LIMIT: usize = 400;

/// Sends a request on each of these connections and reads the responses.
async fn assert_all_served(clients: &mut [Raw]) {
    for client in &mut *clients {
        client.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    }
    for client in clients {
        assert_eq!(client.status().await, 200);
        client.read_exact(3).await.unwrap();
    }
}

/// Guests that each open many files, as many as they can, and keep them open.
struct FileHolders(Vec<(JoinHandle<Reply>, Feed)>);

impl FileHolders {
    fn of(fixture: &MountFixture, count: usize) -> Self {
        let words = ["hold", &FILES_PER_GUEST.to_string(), "/work/inside"];
        let one = |number| {
            let (call, feed) = fixture.call(PROBES[number % 2], &json!({}), &words).streaming_body();
            (tokio::spawn(call.send()), feed)
        };
        Self((0..count).map(one).collect())
    }

    /// Ends all guests and returns how many files each had open.
    async fn finish(self) -> Vec<usize> {
        let mut held = Vec::new();
        for (run, feed) in self.0 {
            drop(feed);
            let framed = run.await.unwrap().frames();
            framed.assert_outcome("exited", 0);
            held.push(String::from_utf8_lossy(&framed.stdout).trim_end().parse().unwrap());
        }
        held
    }
}

#[tokio::test]
async fn guests_at_their_handle_limit_leave_descriptors_for_clients() {
    let mut fixture = MountFixture::new().await;
    std::fs::write(fixture.path("work/inside"), "inside").unwrap();
    let before = fixture.daemon.open_files();
    let holders = FileHolders::of(&fixture, GUESTS);
    eventually("all guests to open their files", async || {
        (fixture.daemon.open_files() >= before + GUESTS * FILES_PER_GUEST).then_some(())
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Raw::connect(&fixture.daemon).await);
    }
    assert_all_served(&mut clients).await;
    assert_eq!(holders.finish().await, [FILES_PER_GUEST; GUESTS]);
    // The same with guests that try to open more files than they may.
    let mut greedy = JoinSet::new();
    for number in 0..GUESTS {
        greedy.spawn(fixture.call(PROBES[number % 2], &json!({}), &["handles", "100000", "/work/inside"]).send());
    }
    assert_all_served(&mut clients).await;
    for reply in greedy.join_all().await {
        let framed = reply.frames();
        framed.assert_outcome("exited", 0);
        assert!(!framed.stderr.is_empty(), "a guest opened 100,000 files");
    }
    let log = fixture.daemon.log();
    assert!(!log.contains("Too many open files") && !log.contains("cannot accept"), "{log}");
    drop(clients);
    eventually("all files to be closed", async || (fixture.daemon.open_files() <= before + 8).then_some(())).await;
    oracle::still_answers(&mut fixture.daemon).await;
}

#[tokio::test]
async fn guests_may_use_at_most_three_quarters_of_all_descriptors() {
    let mut fixture = MountFixture::with("[policy]\nnetwork = [\"127.0.0.1:1/udp\", \"127.0.0.1:1\"]").await;
    std::fs::write(fixture.path("work/inside"), "inside").unwrap();
    let before = fixture.daemon.open_files();
    fixture.daemon.limit_open_files(FILE_LIMIT as u64);
    let holders = FileHolders::of(&fixture, 6);
    eventually("guests to reach their share", async || {
        (fixture.daemon.open_files() >= FILE_LIMIT * 3 / 4).then_some(())
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..FILE_LIMIT / 8 {
        clients.push(Raw::connect(&fixture.daemon).await);
    }
    assert_all_served(&mut clients).await;

    let network = json!({"network": ["127.0.0.1:1/udp", "127.0.0.1:1"]});
    for (probe, policy, words, reported) in [
        (PROBES[0], &json!({}), &["read", "/work/inside"][..], "error: Too many open files in system (os error 41)\n"),
        (PROBES[1], &json!({}), &["read", "/work/inside"], "error: Out of memory (os error 48)\n"),
        (PROBES[1], &network, &["connect", "127.0.0.1:1"], "error: new-socket-limit\n"),
        (PROBES[1], &network, &["udp", "127.0.0.1:1", "x"], "error: new-socket-limit\n"),
    ] {
        let framed = fixture.call(probe, policy, words).send().await.frames();
        framed.assert_outcome("exited", 1);
        assert_eq!(String::from_utf8_lossy(&framed.stdout), reported, "{probe} {words:?}");
    }
    let held: usize = holders.finish().await.into_iter().sum();
    assert!((FILE_LIMIT / 2..FILE_LIMIT).contains(&held), "{held} files were held");
    let log = fixture.daemon.log();
    assert!(!log.contains("Too many open files") && !log.contains("cannot accept"), "{log}");
    drop(clients);
    eventually("all files to be closed", async || (fixture.daemon.open_files() <= before + 8).then_some(())).await;
    oracle::still_answers(&mut fixture.daemon).await;
}
