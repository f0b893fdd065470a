//! Kills the whole daemon at counted points of its writes and at random moments, starts it again on the same directory, and checks what is
//! left: no acknowledged job is lost, each has one outcome, output is whole, keys and schedules hold, and `store check` finds nothing.
//!
//! `CRASH_CYCLES` is how often each test does that.

mod acknowledged;
mod verify;
mod workload;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_tests::{Daemon, Setup};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use self::acknowledged::{Acknowledged, Shared};
use self::workload::Workload;
use super::preload;
use crate::CAPSTAN;

/// Points of a run that are chosen from. A run has about as many.
const POINTS: Range<u64> = 1..600;

/// Acknowledgements after which the daemon is killed. A run has about as many.
const MOMENTS: Range<u64> = 1..220;

/// Cycles in one directory. Each cycle also checks everything that earlier ones have left there.
const CYCLES_OF_A_DIRECTORY: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The daemon is killed at this write, sync, truncation or removal, in the middle of a write.
    KillAt(u64),
    /// The daemon is killed once it has acknowledged so many things.
    KillAfter(u64),
}

/// What the cycles of a test did.
#[derive(Debug, Default)]
struct Totals {
    cycles: u64,
    /// Daemons that were killed before they were ready.
    during_start: u64,
    /// Daemons that were killed once their work was done, because they did not get to the point.
    when_idle: u64,
    jobs: usize,
    ends: usize,
    lost_attempts: usize,
    firings: usize,
}

/// When a daemon was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    DuringStart,
    AtWork,
    WhenIdle,
}

/// A data directory, and what was acknowledged there.
struct Site {
    setup: Setup,
    data: PathBuf,
    acknowledged: Shared,
}

fn cycles() -> u64 {
    std::env::var("CRASH_CYCLES").ok().map_or(3, |text| text.parse().expect("CRASH_CYCLES is a number"))
}

impl Site {
    /// Starts a daemon that pushes the handlers, and kills it.
    async fn new() -> Self {
        let setup = Setup::new(CAPSTAN);
        let data = setup.folder_with_mode("data", 0o700);
        let site = Self { setup, data, acknowledged: Shared::default() };
        let daemon = site.setup.clone().start();
        let client = daemon.client();
        for (handler, wasm) in workload::HANDLERS {
            client.push(handler, *wasm).await;
        }
        site
    }

    /// Starts the daemon, uses it until the fault ends it, and kills it if the fault has not.
    async fn run(&self, cycle: u64, fault: Fault) -> Killed {
        let mut setup = self.setup.clone();
        if let Fault::KillAt(point) = fault {
            setup = setup.env("LD_PRELOAD", preload::faults()).env("FAULT_DIR", &self.data);
            setup = setup.env("FAULT_KIND", "kill").env("FAULT_AT", point.to_string());
        }
        let mut daemon = setup.spawn();
        if let Err(failed) = daemon.wait_for_line("ready") {
            assert_killed(failed.status, &failed.stderr);
            return Killed::DuringStart;
        }
        let most = match fault {
            Fault::KillAfter(count) => count,
            Fault::KillAt(_) => u64::MAX,
        };
        self.acknowledged.begin(most);
        let workload = Workload::new(daemon.client(), self.acknowledged.clone(), cycle);
        let kill = async {
            self.acknowledged.until_most().await;
            daemon.signal(Signal::KILL);
        };
        // Tasks whose requests were answered before the daemon was killed read the answers.
        let kill = async {
            tokio::select! {
                () = kill => {}
                () = self.acknowledged.until_done() => {}
            }
        };
        let (is_gone, ()) = tokio::join!(workload.run(), kill);
        let killed = if is_gone { Killed::AtWork } else { Killed::WhenIdle };
        daemon.signal(Signal::KILL);
        assert_killed(daemon.wait_exit().await, &daemon.log());
        killed
    }

    /// Starts the daemon as a service manager would, and compares everything with what was acknowledged.
    async fn verify(&self) -> Result<(), String> {
        let daemon = self.setup.clone().start();
        verify::verify(&daemon.client(), &self.acknowledged).await?;
        kill(daemon).await;
        self.check_store().await
    }

    /// Copies the data directory to where it stays, for those who look for the cause.
    fn keep(&self) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
        let copied = Command::new("cp").arg("-a").arg(&self.data).arg(&kept).status().expect("cp starts");
        assert!(copied.success(), "cp to {}", kept.display());
        kept
    }

    /// Runs `capstan store check`.
    async fn check_store(&self) -> Result<(), String> {
        let check = super::check_store(&self.data).await;
        if check.code == Some(0) {
            return Ok(());
        }
        Err(format!("store check: {}{}", String::from_utf8_lossy(&check.stdout), check.stderr))
    }
}

async fn kill(mut daemon: Daemon) {
    daemon.signal(Signal::KILL);
    daemon.wait_exit().await;
}

#[track_caller]
fn assert_killed(status: std::process::ExitStatus, log: &str) {
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(status.signal(), Some(9), "the daemon ended by itself:\n{log}");
}

async fn run_cycles(seed: u64, fault: impl Fn(&mut StdRng) -> Fault) -> Totals {
    let mut random = StdRng::seed_from_u64(seed);
    let mut totals = Totals { cycles: cycles(), ..Totals::default() };
    let mut site = Site::new().await;
    for cycle in 0..totals.cycles {
        if cycle > 0 && cycle % CYCLES_OF_A_DIRECTORY == 0 {
            totals.add(&site.acknowledged.take());
            site = Site::new().await;
        }
        let fault = fault(&mut random);
        match site.run(cycle, fault).await {
            Killed::DuringStart => totals.during_start += 1,
            Killed::AtWork => {}
            Killed::WhenIdle => totals.when_idle += 1,
        }
        if let Err(error) = site.verify().await {
            panic!("cycle {cycle}, {fault:?}: {error}; the directory is kept in {}", site.keep().display());
        }
    }
    totals.add(&site.acknowledged.take());
    totals
}

impl Totals {
    fn add(&mut self, acknowledged: &Acknowledged) {
        self.jobs += acknowledged.jobs.len();
        self.ends += acknowledged.acknowledged_ends;
        self.lost_attempts += acknowledged.lost_attempts();
        self.firings += acknowledged.firings.len();
    }

    fn report(&self, what: &str) {
        println!("the daemon {what}: {self:?}");
        assert!(self.jobs > 0 && self.ends > 0, "nothing was acknowledged: {self:?}");
    }
}

#[tokio::test]
async fn daemon_killed_at_counted_points_loses_nothing() {
    let totals = run_cycles(1, |random| Fault::KillAt(random.random_range(POINTS))).await;
    totals.report("killed at counted points");
}

#[tokio::test]
async fn daemon_killed_at_random_moments_loses_nothing() {
    let totals = run_cycles(2, |random| Fault::KillAfter(random.random_range(MOMENTS))).await;
    totals.report("killed at random moments");
    assert!(totals.lost_attempts > 0 || totals.cycles < 3, "no run was in flight: {totals:?}");
}
