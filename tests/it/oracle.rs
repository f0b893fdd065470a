//! The check after every bad input: the same daemon still responds and runs jobs, and has released all resources.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use capstan_tests::{Client, Daemon, eventually, guests};
use serde_json::Value;

/// The tolerated growth in memory: pool slots that stay warm, pages that the job store caches, and the reserve of the allocator.
const EXTRA_MEMORY: u64 = 96 << 20;
/// The tolerated number of additional threads: threads for blocking calls exit after some seconds.
const EXTRA_THREADS: usize = 4;
/// The tolerated number of additional open files: connections that are being closed.
const EXTRA_FILES: usize = 4;

/// Pings the daemon, and pushes and runs a known good program.
///
/// # Panics
/// If the daemon has exited, does not respond, or does not run the program.
pub(crate) async fn still_answers(daemon: &mut Daemon) {
    assert!(daemon.is_alive(), "the daemon has exited");
    let client = daemon.client();
    let ping = client.get("/v1/_ping").send().await;
    assert_eq!(ping.status, 200, "{ping:?}");
    client.push("oracle-hello", guests::run::HELLO).await;
    let reply = client.run("oracle-hello").send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.text(), "hello\n");
    let log = daemon.log();
    assert!(!log.contains("panicked at"), "the daemon panicked:\n{log}");
}

/// The state of a daemon before a test harms it: its handlers are pushed, and nothing runs.
#[derive(Debug)]
pub(crate) struct Oracle {
    pid: u32,
    files: usize,
    threads: usize,
    memory: u64,
}

impl Oracle {
    /// Records the state of the daemon after it has run a program, because many resources are allocated on first use.
    pub(crate) async fn before(daemon: &mut Daemon) -> Self {
        still_answers(daemon).await;
        Self { pid: daemon.pid(), files: daemon.open_files(), threads: daemon.threads(), memory: daemon.memory() }
    }

    /// Compares the daemon with the recorded state.
    ///
    /// # Panics
    /// If it is a different process, does not release its resources, or has a job that did not end exactly once.
    pub(crate) async fn after(self, daemon: &mut Daemon) {
        still_answers(daemon).await;
        assert_eq!(daemon.pid(), self.pid, "the daemon is a different process");
        let daemon: &Daemon = daemon;
        let client = daemon.client();
        wait_until_at_most("running jobs", 0, async || client.running().await).await;
        wait_until_at_most("slots and compilers in use", 0, async || in_use(&client).await).await;
        wait_until_at_most("open files", self.files + EXTRA_FILES, async || daemon.open_files()).await;
        wait_until_at_most("threads", self.threads + EXTRA_THREADS, async || daemon.threads()).await;
        wait_until_at_most("bytes of memory", self.memory + EXTRA_MEMORY, async || daemon.memory()).await;
        assert_every_job_ended_once(&client).await;
    }
}

/// Waits until the value is at most `at_most`.
async fn wait_until_at_most<T: PartialOrd + Debug>(what: &str, at_most: T, mut now: impl AsyncFnMut() -> T) {
    let mut last = None;
    eventually(format_args!("{what} to fall to {at_most:?}"), async || {
        last = Some(now().await);
        last.as_ref().is_some_and(|now| *now <= at_most).then_some(())
    })
    .await;
}

/// Returns the number of used pool slots, running and queued jobs, and compiler processes together.
pub(crate) async fn in_use(client: &Client) -> u64 {
    const OF: [&str; 4] =
        ["capstan_pool_slots_used{", "capstan_runs_running ", "capstan_runs_queued ", "capstan_compilers "];
    let page = client.get("/metrics").send().await;
    let counted = page.text().lines().filter(|line| OF.iter().any(|metric| line.starts_with(metric)));
    let values: Vec<u64> = counted.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(values.len() > OF.len(), "not all of {OF:?} are in {}", page.text());
    values.iter().sum()
}

/// Checks that each job in the history is done with a proper outcome, and that its end is published exactly once.
async fn assert_every_job_ended_once(client: &Client) {
    let jobs = client.get("/v1/jobs?limit=1000").send().await.json();
    let mut seen = HashSet::new();
    for job in jobs["jobs"].as_array().unwrap() {
        assert_eq!(job["state"], "done", "{job}");
        let kind = job["outcome"]["kind"].as_str().unwrap_or_else(|| panic!("no outcome of {job}"));
        assert!(!["host_error", "lost"].contains(&kind), "{job}");
        assert!(seen.insert(job["id"].as_str().unwrap().to_owned()), "{job} occurs twice");
    }
    // The event is published shortly after the job is done.
    let ends = eventually("the end of each job to be published", async || {
        let ends = published_ends(client).await;
        seen.iter().all(|id| ends.contains_key(id)).then_some(ends)
    })
    .await;
    let twice: Vec<_> = ends.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "ends that were published more than once: {twice:?}");
}

/// Returns how often the end of each job was published.
async fn published_ends(client: &Client) -> HashMap<String, usize> {
    let mut ends = HashMap::new();
    let events = client.get("/v1/events?since=0&until=0s&filter=event=job.end").send().await;
    for event in events.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        *ends.entry(event["job"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ends
}
