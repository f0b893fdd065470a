//! What must hold after every bad input: the same daemon still answers and still runs jobs, and has given back what that took.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use capstan_tests::{Client, Daemon, eventually, guests};
use serde_json::Value;

/// Bytes of memory by which a daemon may have grown: slots of the pools that stay warm, and the heap's own reserve.
const GROWN: u64 = 64 << 20;
/// Threads that come and go by themselves: those for calls that block stay for some seconds.
const THREADS: usize = 4;
/// Sockets of connections that are being closed.
const FILES: usize = 4;

/// Pings the daemon, and pushes and runs a program that is known to be good.
///
/// # Panics
/// If the daemon has ended, does not answer, or does not run what it should.
pub(crate) async fn still_answers(daemon: &mut Daemon) {
    assert!(daemon.is_alive(), "the daemon has ended");
    let client = daemon.client();
    let ping = client.get("/v1/_ping").send().await;
    assert_eq!(ping.status, 200, "{ping:?}");
    client.push("oracle-hello", guests::run::HELLO).await;
    let reply = client.run("oracle-hello").send().await;
    reply.ended("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    let log = daemon.log();
    assert!(!log.contains("panicked at"), "something panicked in the daemon:\n{log}");
}

/// A daemon as it was before something bad is done to it: its handlers pushed, and nothing running.
#[derive(Debug)]
pub(crate) struct Oracle {
    pid: u32,
    files: usize,
    threads: usize,
    memory: u64,
}

impl Oracle {
    /// Looks at the daemon, after it has run something: much is made when it is first used.
    pub(crate) async fn before(daemon: &mut Daemon) -> Self {
        still_answers(daemon).await;
        Self { pid: daemon.pid(), files: daemon.open_files(), threads: daemon.threads(), memory: daemon.memory() }
    }

    /// Compares the daemon with what it was.
    ///
    /// # Panics
    /// If it is another, or takes harm, or does not give back what it took; if a job has not ended, or not exactly once.
    pub(crate) async fn after(self, daemon: &mut Daemon) {
        still_answers(daemon).await;
        assert_eq!(daemon.pid(), self.pid, "it is another process");
        let daemon: &Daemon = daemon;
        let client = daemon.client();
        falls("jobs that run", 0, async || client.running().await).await;
        falls("slots and compilers in use", 0, async || in_use(&client).await).await;
        falls("open files", self.files + FILES, async || daemon.open_files()).await;
        falls("threads", self.threads + THREADS, async || daemon.threads()).await;
        falls("bytes of memory", self.memory + GROWN, async || daemon.memory()).await;
        every_job_has_ended_once(&client).await;
    }
}

/// Waits until there are no more of them than there may be.
async fn falls<T: PartialOrd + Debug>(what: &str, at_most: T, mut now: impl AsyncFnMut() -> T) {
    let mut last = None;
    eventually(format_args!("{what} to fall to {at_most:?}"), async || {
        last = Some(now().await);
        last.as_ref().is_some_and(|now| *now <= at_most).then_some(())
    })
    .await;
}

/// Slots of the pools that runs use, jobs that wait for one, and children that compile, all together.
pub(crate) async fn in_use(client: &Client) -> u64 {
    const OF: [&str; 4] =
        ["capstan_pool_slots_used{", "capstan_runs_running ", "capstan_runs_queued ", "capstan_compilers "];
    let page = client.get("/metrics").send().await;
    let counted = page.text().lines().filter(|line| OF.iter().any(|metric| line.starts_with(metric)));
    let values: Vec<u64> = counted.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(values.len() > OF.len(), "not all of {OF:?} are in {}", page.text());
    values.iter().sum()
}

/// Checks that each job that is remembered is done, with an outcome that is the job's own doing, and that its end is told once.
async fn every_job_has_ended_once(client: &Client) {
    let jobs = client.get("/v1/jobs?limit=1000").send().await.json();
    let mut seen = HashSet::new();
    for job in jobs["jobs"].as_array().unwrap() {
        assert_eq!(job["state"], "done", "{job}");
        let kind = job["outcome"]["kind"].as_str().unwrap_or_else(|| panic!("no outcome of {job}"));
        assert!(!["host_error", "lost"].contains(&kind), "{job}");
        assert!(seen.insert(job["id"].as_str().unwrap().to_owned()), "{job} is there twice");
    }
    // It is told a moment after the job is done.
    let ends = eventually("the end of each job to be told", async || {
        let ends = ends_told(client).await;
        seen.iter().all(|id| ends.contains_key(id)).then_some(ends)
    })
    .await;
    let twice: Vec<_> = ends.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "ends that were told more than once: {twice:?}");
}

/// How often the end of each job was told.
async fn ends_told(client: &Client) -> HashMap<String, usize> {
    let mut ends = HashMap::new();
    let events = client.get("/v1/events?since=0&until=0s&filter=event=job.end").send().await;
    for event in events.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        *ends.entry(event["job"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ends
}
