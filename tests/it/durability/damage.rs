//! Files of the job store that are damaged under a daemon: it names what is damaged, and serves the rest.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use capstan_tests::{Cli, Client, Daemon, Setup, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::check_store;
use crate::CAPSTAN;
use crate::jobs::api::{inspect, output_of, submit, wait_for_end};

/// A stopped daemon with two jobs that have printed much, and one that has printed little.
struct Stopped {
    setup: Setup,
    data: PathBuf,
    jobs: Vec<(String, Value, String)>,
}

enum Stop {
    /// As a service manager does. Then `store vacuum` moves the log into the database.
    Orderly,
    /// The log stays.
    Kill,
}

impl Stopped {
    async fn new(stop: Stop) -> Self {
        let setup = Setup::new(CAPSTAN);
        let data = setup.folder_with_mode("data", 0o700);
        let mut daemon = setup.clone().start();
        let client = daemon.client();
        client.push("cat", guests::run::CAT).await;
        let mut jobs = Vec::new();
        for text in ["first ".repeat(10_000), "second ".repeat(10_000), "third".to_owned()] {
            let job = json!({"handler": "cat", "stdin": text, "args": [format!("marker {}", &text[..5])]});
            let id = submit(&client, &job).await;
            let ended = wait_for_end(&client, &id).await;
            jobs.push((id, ended, text));
        }
        let signal = match stop {
            Stop::Orderly => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        daemon.signal(signal);
        daemon.wait_exit().await;
        drop(daemon);
        if let Stop::Orderly = stop {
            let path = data.to_str().unwrap();
            let vacuum = Cli::new(CAPSTAN).args(["store", "vacuum", "--data", path]).run().await;
            assert_eq!(vacuum.code, Some(0), "{vacuum:?}");
        }
        Self { setup, data, jobs }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.join("jobs").join(name)
    }

    fn start(&self) -> (Daemon, Client) {
        let daemon = self.setup.clone().start();
        let client = daemon.client();
        (daemon, client)
    }

    /// Runs `store check`, which must find something, and returns what it prints.
    async fn check(&self) -> String {
        let check = check_store(&self.data).await;
        assert_ne!(check.code, Some(0), "the damage is not found");
        format!("{}{}", String::from_utf8_lossy(&check.stdout), check.stderr)
    }
}

fn flip_bit(path: &Path, byte: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut there = [0];
    file.read_exact_at(&mut there, byte).unwrap();
    file.write_all_at(&[there[0] ^ 4], byte).unwrap();
}

fn truncate(path: &Path, size: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

async fn assert_new_jobs_run(client: &Client) {
    let text = "new ".repeat(20_000);
    let id = submit(client, &json!({"handler": "cat", "stdin": text})).await;
    assert_eq!(wait_for_end(client, &id).await["exit_code"], 0);
    assert_eq!(output_of(client, &id).await, text);
}

#[tokio::test]
async fn damaged_segment_is_named_and_the_rest_is_served() {
    let stopped = Stopped::new(Stop::Orderly).await;
    let segment = stopped.file("output/00000001.segment");
    flip_bit(&segment, 1000);
    assert!(stopped.check().await.contains("output/00000001.segment at byte 0"));
    let (daemon, client) = stopped.start();
    for (number, (id, ended, text)) in stopped.jobs.iter().enumerate() {
        assert_eq!(inspect(&client, id).await, *ended);
        let output = output_of(&client, id).await;
        assert_eq!(output == *text, number > 0, "job {number} has {} bytes", output.len());
    }
    daemon.until_logged(&["output/00000001.segment at byte 0"]).await;
    assert_new_jobs_run(&client).await;
}

#[tokio::test]
async fn truncated_segment_is_named_at_the_start_and_the_rest_is_served() {
    let stopped = Stopped::new(Stop::Orderly).await;
    let segment = stopped.file("output/00000001.segment");
    let size = fs::metadata(&segment).unwrap().len();
    truncate(&segment, size - 10);
    assert!(stopped.check().await.contains("00000001.segment"));
    let (daemon, client) = stopped.start();
    daemon.until_logged(&["a segment of the job store is damaged", "00000001.segment"]).await;
    for (number, (id, ended, text)) in stopped.jobs.iter().enumerate() {
        assert_eq!(inspect(&client, id).await, *ended);
        assert_eq!(output_of(&client, id).await == *text, number != 1, "job {number}");
    }
    assert_new_jobs_run(&client).await;
}

#[tokio::test]
async fn damaged_log_is_reported_at_the_start_and_what_precedes_it_is_served() {
    let stopped = Stopped::new(Stop::Kill).await;
    let log = stopped.file("jobs.db-wal");
    let size = fs::metadata(&log).unwrap().len();
    flip_bit(&log, size * 3 / 4);
    assert!(stopped.check().await.contains("jobs.db-wal"));
    let (daemon, client) = stopped.start();
    daemon.until_logged(&["frames that were never committed, or that are damaged"]).await;
    // What the log had before the damage is there: the first job, which runs again if its end was behind it.
    let (first, ..) = &stopped.jobs[0];
    assert_eq!(wait_for_end(&client, first).await["exit_code"], 0);
    assert_new_jobs_run(&client).await;
}

#[tokio::test]
async fn damaged_job_is_an_error_that_names_it_and_the_rest_is_served() {
    let stopped = Stopped::new(Stop::Orderly).await;
    let (first, ..) = &stopped.jobs[0];
    let database = stopped.file("jobs.db");
    let content = fs::read(&database).unwrap();
    let marker = b"marker first";
    let place = content.windows(marker.len()).position(|window| window == marker).expect("it is stored as it is");
    flip_bit(&database, place as u64);
    let found = stopped.check().await;
    assert!(found.contains(first.as_str()), "{found}");
    let (_daemon, client) = stopped.start();
    for (id, ended, text) in &stopped.jobs[1..] {
        assert_eq!((&inspect(&client, id).await, &output_of(&client, id).await), (ended, text));
    }
    let message = client.get(&format!("/v1/jobs/{first}")).send().await.error(500, "damaged");
    assert!(message.contains(first.as_str()) && message.contains("capstan store check"), "{message}");
    assert_new_jobs_run(&client).await;
}

#[tokio::test]
async fn truncated_database_is_refused_with_what_to_do() {
    let stopped = Stopped::new(Stop::Orderly).await;
    let database = stopped.file("jobs.db");
    let size = fs::metadata(&database).unwrap().len();
    truncate(&database, size / 2);
    assert!(stopped.check().await.contains("jobs.db"));
    let mut daemon = stopped.setup.clone().spawn();
    match daemon.wait_for_line("ready") {
        Err(refused) => {
            let last = refused.stderr.lines().last().unwrap_or_default();
            assert_eq!(refused.status.code(), Some(1), "{last}");
            assert!(last.contains("jobs.db") && last.contains("restore a backup"), "{last}");
        }
        // The first pages alone are enough to start. Then each call says whether it could be read.
        Ok(()) => {
            for (id, ended, _) in &stopped.jobs {
                let reply = daemon.client().get(&format!("/v1/jobs/{id}")).send().await;
                assert!(reply.status == 500 && reply.json()["error"]["code"] == "damaged" || reply.json() == *ended);
            }
        }
    }
}
