//! Many guests that keep files open, beside many clients.

use capstan_tests::{Feed, Raw, Reply, eventually};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use crate::files::disk::Granting;
use crate::{PROBES, oracle};

const BOMBS: usize = 100;
const CLIENTS: usize = 1000;
/// What each keeps open beside its mount and its streams, near its limit of 128 handles.
const EACH: usize = 110;

/// Open files that the daemon may have where its guests want more of them than there are.
const FEW: usize = 400;

/// Asks for an answer on each of these connections, all at once.
async fn answered(clients: &mut [Raw]) {
    for client in &mut *clients {
        client.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    }
    for client in clients {
        assert_eq!(client.status().await, 200);
        client.read_exact(3).await.unwrap();
    }
}

/// Guests that open so many files each, as far as they can, and keep them.
struct Holders(Vec<(JoinHandle<Reply>, Feed)>);

impl Holders {
    fn of(granting: &Granting, count: usize) -> Self {
        let words = ["hold", &EACH.to_string(), "/work/inside"];
        let one = |number| {
            let (call, feed) = granting.call(PROBES[number % 2], &json!({}), &words).fed();
            (tokio::spawn(call.send()), feed)
        };
        Self((0..count).map(one).collect())
    }

    /// Has all of them end; how many files each had.
    async fn let_go(self) -> Vec<usize> {
        let mut held = Vec::new();
        for (run, feed) in self.0 {
            drop(feed);
            let framed = run.await.unwrap().frames();
            framed.ended("exited", 0);
            held.push(String::from_utf8_lossy(&framed.stdout).trim_end().parse().unwrap());
        }
        held
    }
}

#[tokio::test]
async fn a_hundred_guests_with_all_handles_leave_files_for_a_thousand_clients() {
    let mut granting = Granting::new().await;
    std::fs::write(granting.path("work/inside"), "inside").unwrap();
    let before = granting.daemon.open_files();
    let holders = Holders::of(&granting, BOMBS);
    eventually("all to hold their files", async || {
        (granting.daemon.open_files() >= before + BOMBS * EACH).then_some(())
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Raw::connect(&granting.daemon).await);
    }
    answered(&mut clients).await;
    assert_eq!(holders.let_go().await, [EACH; BOMBS]);
    // The same, by guests that want more than they may.
    let mut greedy = JoinSet::new();
    for number in 0..BOMBS {
        greedy.spawn(granting.call(PROBES[number % 2], &json!({}), &["handles", "100000", "/work/inside"]).send());
    }
    answered(&mut clients).await;
    for reply in greedy.join_all().await {
        let framed = reply.frames();
        framed.ended("trapped", 134);
        assert_eq!(framed.outcome()["trap"], "handles_exhausted");
    }
    let log = granting.daemon.log();
    assert!(!log.contains("Too many open files") && !log.contains("cannot accept"), "{log}");
    drop(clients);
    eventually("all files to be closed", async || (granting.daemon.open_files() <= before + 8).then_some(())).await;
    oracle::still_answers(&mut granting.daemon).await;
}

#[tokio::test]
async fn guests_leave_a_quarter_of_all_open_files_to_the_daemon_and_its_clients() {
    let mut granting = Granting::with("[policy]\nnetwork = [\"127.0.0.1:1/udp\", \"127.0.0.1:1\"]").await;
    std::fs::write(granting.path("work/inside"), "inside").unwrap();
    let before = granting.daemon.open_files();
    granting.daemon.limit_open_files(FEW as u64);
    let holders = Holders::of(&granting, 6);
    eventually("them to hold what there is for guests", async || {
        (granting.daemon.open_files() >= FEW * 3 / 4).then_some(())
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..FEW / 8 {
        clients.push(Raw::connect(&granting.daemon).await);
    }
    answered(&mut clients).await;

    let network = json!({"network": ["127.0.0.1:1/udp", "127.0.0.1:1"]});
    for (probe, policy, words, told) in [
        (PROBES[0], &json!({}), &["read", "/work/inside"][..], "error: Too many open files in system (os error 41)\n"),
        (PROBES[1], &json!({}), &["read", "/work/inside"], "error: Out of memory (os error 48)\n"),
        (PROBES[1], &network, &["connect", "127.0.0.1:1"], "error: new-socket-limit\n"),
        (PROBES[1], &network, &["udp", "127.0.0.1:1", "x"], "error: new-socket-limit\n"),
    ] {
        let framed = granting.call(probe, policy, words).send().await.frames();
        framed.ended("exited", 1);
        assert_eq!(String::from_utf8_lossy(&framed.stdout), told, "{probe} {words:?}");
    }
    let held: usize = holders.let_go().await.into_iter().sum();
    assert!((FEW / 2..FEW).contains(&held), "{held} files were held");
    let log = granting.daemon.log();
    assert!(!log.contains("Too many open files") && !log.contains("cannot accept"), "{log}");
    drop(clients);
    eventually("all files to be closed", async || (granting.daemon.open_files() <= before + 8).then_some(())).await;
    oracle::still_answers(&mut granting.daemon).await;
}
