//! Ends a process that uses the store on the disk, at random moments and at counted points of its calls, and checks what is left: nothing
//! that was acknowledged is lost, no outcome is recorded twice, and no output of a finished job is torn.
//!
//! `CRASH_CYCLES` is how often each test does that. The process is this test itself, as `worker_process`, with a library that makes the disk
//! fail (`faults.c`).

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes, read their environment and fail by panicking"
)]

mod acknowledged;
mod output_pattern;
mod process;
mod verify;
mod worker;

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::acknowledged::Acknowledged;
use self::process::{Fault, Process};
use self::verify::verify;

/// Points of a run that are chosen from. A run has about as many.
const POINTS: Range<u64> = 1..1200;

/// Cycles in one directory. Each cycle checks everything that earlier ones have left there.
const CYCLES_OF_A_DIRECTORY: u64 = 10;

/// How often a test ends the process.
fn cycles() -> u64 {
    std::env::var("CRASH_CYCLES").ok().map_or(12, |text| text.parse().expect("CRASH_CYCLES is a number"))
}

/// The process that the other tests start. On its own it does nothing.
#[test]
fn worker_process() {
    if let Ok(directory) = std::env::var("CRASH_WORKER") {
        worker::run(&directory);
    }
}

/// Runs cycles. Returns what was acknowledged, or the first thing that is wrong.
fn run_cycles(seed: u64, count: u64, fault: impl Fn(&mut StdRng) -> Fault) -> Result<Acknowledged, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut total = Acknowledged::default();
    let mut process = Process::new();
    let mut acknowledged = Acknowledged::default();
    for cycle in 0..count {
        if cycle > 0 && cycle % CYCLES_OF_A_DIRECTORY == 0 {
            process = Process::new();
            total.add(std::mem::take(&mut acknowledged));
        }
        let fault = fault(&mut random);
        process.run(cycle, &fault, &mut acknowledged);
        verify(process.data(), &mut acknowledged).map_err(|error| format!("cycle {cycle}, {fault:?}: {error}"))?;
    }
    total.add(acknowledged);
    Ok(total)
}

/// Reports what the cycles did, for those who count.
fn report(test: &str, result: Result<Acknowledged, String>) -> Acknowledged {
    let acknowledged = result.unwrap_or_else(|error| panic!("{error}"));
    println!("{test}: {} cycles, {acknowledged}", cycles());
    assert!(acknowledged.jobs() > 0 && acknowledged.outcomes() > 0, "nothing was acknowledged: {acknowledged}");
    acknowledged
}

#[test]
fn kill_at_random_moments_loses_nothing() {
    let fault = |random: &mut StdRng| Fault::KillAfterLines(random.random_range(1..600));
    report("kill at random moments", run_cycles(1, cycles(), fault));
}

#[test]
fn kill_at_counted_points_loses_nothing() {
    let fault = |random: &mut StdRng| Fault::KillAt(random.random_range(POINTS));
    report("kill at counted points", run_cycles(2, cycles(), fault));
}

#[test]
fn power_cut_loses_nothing_that_was_acknowledged() {
    let fault = |random: &mut StdRng| Fault::PowerCut { at: random.random_range(POINTS), torn: 0, is_synced: true };
    report("power cut", run_cycles(3, cycles(), fault));
}

/// A disk may write the blocks that wait for a sync in any order.
#[test]
fn power_cut_amid_unordered_writes_loses_nothing_that_was_acknowledged() {
    let fault = |random: &mut StdRng| {
        let (at, torn) = (random.random_range(POINTS), random.random_range(1..u32::MAX));
        Fault::PowerCut { at, torn, is_synced: true }
    };
    report("power cut amid unordered writes", run_cycles(7, cycles(), fault));
}

/// Without syncs the test above fails, so it can see what it is about.
#[test]
fn power_cut_without_syncs_is_noticed() {
    let fault = |random: &mut StdRng| Fault::PowerCut { at: random.random_range(POINTS), torn: 0, is_synced: false };
    let error = run_cycles(4, 10, fault).expect_err("acknowledged jobs are lost");
    println!("power cut without syncs: {error}");
}

#[test]
fn failing_disk_loses_nothing_that_was_acknowledged() {
    let fault = |random: &mut StdRng| Fault::InputOutput(random.random_range(POINTS));
    let acknowledged = report("EIO", run_cycles(5, cycles(), fault));
    assert!(acknowledged.refused > 0, "the disk refused nothing");
}

#[test]
fn full_disk_loses_nothing_and_the_store_goes_on_when_there_is_space() {
    let fault = |random: &mut StdRng| {
        let from = random.random_range(20..400);
        Fault::Full { from, until: from + random.random_range(1..80) }
    };
    let acknowledged = report("full disk", run_cycles(6, cycles(), fault));
    assert!(acknowledged.after_refusal > 0, "the store did not go on");
}
