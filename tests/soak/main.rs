//! The soak test: 200,000 runs of all kinds on one daemon, whose memory, files and threads must return to their initial values.
//!
//! Of twenty runs, seven run a module, seven run a component, two trap, two hit a deadline, and two lose their client. Each run uses its own
//! connection over the unix socket, sixteen at a time. The first 20,000 runs are a warm-up: afterwards the pools, the history and the event
//! log are full, and the state at that point is the baseline.
//!
//! `CAPSTAN_SOAK_RUNS` sets another number of runs. The test fails after half an hour.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test reports by panicking, and reads files in /proc"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capstan_tests::{Client, Daemon, Setup, eventually, guests};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The number of measured runs.
const RUNS: usize = 200_000;
/// The number of warm-up runs.
const WARM_UP: usize = 20_000;
/// The number of concurrent runs.
const AT_A_TIME: usize = 16;
/// The limit on the time of the test.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The relative growth of the resident memory that is tolerated.
const DRIFT: f64 = 0.05;

fn main() {
    let runs = std::env::var("CAPSTAN_SOAK_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let soaked = runtime.block_on(async { tokio::time::timeout(TIMEOUT, soak(runs)).await });
    assert!(soaked.is_ok(), "the soak test did not finish within {TIMEOUT:?}");
}

async fn soak(runs: usize) {
    let daemon = Setup::new(env!("CARGO_BIN_EXE_capstan")).start();
    let client = daemon.unix_client();
    client.push("p1", guests::compiled("hello.p1")).await;
    client.push("p2", guests::compiled("hello.p2")).await;
    client.push("trap", guests::run::TRAP_UNREACHABLE).await;
    client.push("sleep", guests::limits::SLEEP_FOR_EVER).await;

    run_all(&client, WARM_UP).await;
    let before = Resources::settled(&daemon, &client, None).await;
    let start = Instant::now();
    run_all(&client, runs).await;
    let took = start.elapsed();
    let after = Resources::settled(&daemon, &client, Some(before)).await;

    // A daemon that sees a failure prints its log, which is long.
    drop(daemon);
    println!("{runs} runs in {took:.1?}, {:.0} per second, {AT_A_TIME} at a time", runs as f64 / took.as_secs_f64());
    println!("{:<10} {:>14} {:>8} {:>8}", "", "resident bytes", "files", "threads");
    for (when, held) in [("before", before), ("after", after)] {
        println!("{when:<10} {:>14} {:>8} {:>8}", held.resident, held.files, held.threads);
    }
    let drift = after.resident as f64 / before.resident as f64 - 1.0;
    println!("memory changed by {:.1} %", 100.0 * drift);
    assert!(drift < DRIFT, "the memory of the daemon has grown");
}

async fn run_all(client: &Client, runs: usize) {
    let (next, mut workers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..AT_A_TIME {
        let (next, client) = (next.clone(), client.clone());
        workers.spawn(async move {
            loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return;
                }
                run_one(&client, run).await;
            }
        });
    }
    workers.join_all().await;
}

async fn run_one(client: &Client, run: usize) {
    match run % 20 {
        0..7 => client.run("p1").send().await.assert_outcome("exited", 0),
        7..14 => client.run("p2").send().await.assert_outcome("exited", 0),
        14..16 => client.run("trap").send().await.assert_outcome("trapped", 134),
        16..18 => client.run("sleep").query("timeout", "0.02").send().await.assert_outcome("timed_out", 124),
        // The head arrives before the end of the run. Dropping the exchange closes the connection.
        _ => drop(client.run("sleep").open().await),
    }
}

/// The resources that the daemon holds.
#[derive(Clone, Copy, Debug)]
struct Resources {
    resident: u64,
    files: usize,
    threads: usize,
}

impl Resources {
    /// Waits until nothing runs and there are no more files and threads than `before`, and returns the resources.
    async fn settled(daemon: &Daemon, client: &Client, before: Option<Self>) -> Self {
        let settled = async || {
            let idle = client.running().await == 0;
            let held = Self::now(daemon);
            let back = before.is_none_or(|before| held.files <= before.files && held.threads <= before.threads);
            (idle && back).then_some(held)
        };
        eventually("files and threads to be what they were", settled).await
    }

    fn now(daemon: &Daemon) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        Self { resident, files: daemon.open_files(), threads: daemon.threads() }
    }
}
