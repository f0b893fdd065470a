//! The wall clock is set back and forward by a day under a running daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use capstan_tests::{Client, Daemon, Setup, eventually, guests};
use serde_json::{Value, json};

use super::preload;
use crate::CAPSTAN;
use crate::jobs::api::{inspect, post, submit, wait_for_end};
use crate::jobs::durable::until_state;

const DAY: i64 = 24 * 3600;

/// A daemon whose wall clock can be moved.
struct Moved {
    daemon: Daemon,
    client: Client,
    offset: PathBuf,
}

impl Moved {
    async fn start() -> Self {
        let setup = Setup::new(CAPSTAN);
        let offset = setup.folder().join("offset");
        fs::write(&offset, 0i64.to_ne_bytes()).unwrap();
        let daemon = setup.env("LD_PRELOAD", preload::clock()).env("CLOCK_OFFSET", &offset).start();
        let client = daemon.client();
        client.push("cat", guests::run::CAT).await;
        client.push("print", guests::run::PRINT_THEN_EXIT).await;
        client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;
        Self { daemon, client, offset }
    }

    /// Moves the clock to so many seconds after the one of the machine. The file keeps its size, because the daemon has mapped it.
    fn set(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(&self.offset).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Returns the times for which the schedule has submitted jobs. Each has one.
    async fn times(&self) -> BTreeSet<String> {
        let list = self.client.get("/v1/jobs?limit=1000&label=capstan.schedule=often").send().await.json();
        let jobs = list["jobs"].as_array().unwrap();
        let time = |job: &Value| job["labels"]["capstan.scheduled_at"].as_str().unwrap().to_owned();
        let times: BTreeSet<_> = jobs.iter().map(time).collect();
        assert_eq!(times.len(), jobs.len(), "a time has two jobs: {list}");
        times
    }

    async fn until_times(&self, more_than: usize) -> BTreeSet<String> {
        eventually(&format!("more than {more_than} jobs of the schedule"), async || {
            Some(self.times().await).filter(|times| times.len() > more_than)
        })
        .await
    }

    /// A job that is not due at once, and one that is retried, end: the queue goes by the clock as it is now.
    async fn assert_queue_works(&self, key: &str) {
        let soon =
            submit(&self.client, &json!({"handler": "cat", "stdin": "x", "not_before": "1100ms", "key": key})).await;
        assert_eq!(wait_for_end(&self.client, &soon).await["exit_code"], 0);
        let retry = json!({"attempts": 2, "base": "10ms"});
        let retried = submit(&self.client, &json!({"handler": "print", "args": ["7"], "retry": retry})).await;
        until_state(&self.client, &retried, "dead").await;
        assert_eq!(inspect(&self.client, &retried).await["attempts"].as_array().unwrap().len(), 2);
    }

    async fn assert_runs_once(&self, id: &str) {
        let job = inspect(&self.client, id).await;
        assert_eq!((&job["state"], job["attempts"].as_array().unwrap().len()), (&json!("running"), 1), "{job}");
        assert_eq!(self.client.running().await, 1);
    }
}

#[tokio::test]
async fn clock_that_is_set_back_and_forward_runs_no_job_twice() {
    let moved = Moved::start().await;
    let client = &moved.client;
    let running = submit(client, &json!({"handler": "sleep", "retry": {"base": "1ms"}})).await;
    until_state(client, &running, "running").await;
    let definition = json!({"every": "1s", "job": {"handler": "cat", "stdin": "tick"}});
    assert_eq!(client.put("/v1/schedules/often", definition.to_string()).send().await.status, 201);
    moved.until_times(1).await;
    moved.assert_queue_works("before").await;

    // A day back: the schedule waits until the clock is where it was, and everything else goes on.
    moved.set(-DAY);
    moved.assert_queue_works("back").await;
    let waiting = moved.times().await;
    moved.assert_queue_works("later").await;
    assert_eq!(moved.times().await, waiting, "the schedule has fired although its next time is a day away");
    let later = submit(client, &json!({"handler": "cat", "not_before": "23h"})).await;
    for key in ["before", "back"] {
        let again = json!({"handler": "cat", "stdin": "x", "not_before": "1100ms", "key": key});
        assert_eq!(post(client, &again).await.status, 200, "the key {key} is forgotten");
    }
    moved.assert_runs_once(&running).await;

    // Back to where it was: it goes on, and what came due meanwhile runs.
    moved.set(0);
    let resumed = moved.until_times(waiting.len()).await;
    assert!(resumed.is_superset(&waiting));
    assert_eq!(wait_for_end(client, &later).await["exit_code"], 0);
    moved.assert_runs_once(&running).await;

    // A day forward: 86,400 times have passed, and there is one job for the last of them.
    moved.set(DAY);
    let jumped = moved.until_times(resumed.len() + 1).await;
    assert!(jumped.len() < resumed.len() + 100, "{} jobs are made up for", jumped.len() - resumed.len());
    moved.assert_queue_works("forward").await;
    moved.assert_runs_once(&running).await;
    let (id, offset) = (running, moved.offset);

    // A day back again, and a crash: the lost run is repeated, and there is one at a time.
    fs::write(&offset, 0i64.to_ne_bytes()).unwrap();
    let (daemon, client) = moved.daemon.kill_and_restart().await;
    eventually("the second run", async || {
        let job = inspect(&client, &id).await;
        (job["state"] == "running" && job["attempts"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    Moved { daemon, client, offset }.assert_lost_once(&id).await;
}

impl Moved {
    async fn assert_lost_once(&self, id: &str) {
        let job = inspect(&self.client, id).await;
        assert_eq!(job["attempts"][0]["outcome"]["kind"], "lost");
        assert_eq!(job["attempts"][1]["outcome"], Value::Null);
    }
}
