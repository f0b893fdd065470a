//! The memory of many guests that sleep.

use std::time::{Duration, Instant};

use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_core::outcome::CancelledBy;
use capstan_engine::engine::{self, Engine};
use capstan_engine::job::{Job, JobState};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolver, Sandbox, TrustedRoots};
use capstan_tests::guests;
use tokio::runtime::Builder;

/// Starts `count` guests of `program` that sleep, and prints their memory.
pub(crate) fn measure(binary: &str, program: &str, count: usize) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = Memory::now();
    let ceiling = Limits::default();
    let config = capstan_sandbox::Config {
        ceiling,
        runs: count,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile: CompileLimits::default(),
        compiler: binary.into(),
        confine: capstan_confinement::Mode::default(),
        artifacts: None,
        tasks: Tasks::default(),
        resolver: Resolver::default(),
        roots: TrustedRoots::default(),
    };
    let sandbox = Sandbox::new(config).unwrap();
    let engine = Engine::new(engine::Config {
        ceiling: capstan_core::policy::Ceiling::with_limits(ceiling),
        runs: count,
        queue: 0,
    });
    let handler =
        runtime.block_on(sandbox.load(guests::compiled(program).into(), Manifest::default(), Metering::Off)).unwrap();
    engine.register("sleep", handler).unwrap();
    let ready = Memory::now();

    let start = Instant::now();
    let jobs: Vec<_> = runtime.block_on(async {
        let start_job = || {
            let job = engine.job("sleep").unwrap().args(["sleep", "3600"]).build().unwrap();
            job.start().unwrap();
            job
        };
        let jobs: Vec<Job> = (0..count).map(|_| start_job()).collect();
        // A guest has its instance once the time of its instantiation is known. It computes almost nothing after that.
        while !jobs.iter().all(|job| job.usage().instantiate_seconds > 0.0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let ended = jobs.iter().find(|job| matches!(job.state(), JobState::Done(_)));
            assert!(ended.is_none(), "a sleeping guest ended: {:?}", ended.map(Job::state));
        }
        engine.counts();
        tokio::time::sleep(Duration::from_secs(1)).await;
        jobs
    });
    let (asleep, took) = (Memory::now(), start.elapsed());
    let each = |now: usize, then: usize| now.saturating_sub(then) as f64 / count as f64;
    println!(
        "{count} guests of {program} that sleep: {} MB ({:.1} kB each; {} MB if shared pages count for each), {} maps ({:.2} each, and {} for the pools), started within {took:.1?}",
        asleep.memory.saturating_sub(before.memory) / 1_000_000,
        each(asleep.memory, ready.memory) / 1000.0,
        asleep.resident.saturating_sub(before.resident) / 1_000_000,
        asleep.maps,
        each(asleep.maps, ready.maps),
        ready.maps.saturating_sub(before.maps),
    );
    runtime.block_on(async {
        jobs.iter().for_each(|job| job.cancel(CancelledBy::Operator));
        engine.wait_until_idle().await;
    });
}

/// The memory of this process.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Bytes of memory, with shared pages counted once (PSS). Guests share the pages of a program that they have not written to.
    memory: usize,
    /// Bytes of resident memory, with a shared page counted for each map (RSS).
    resident: usize,
    /// The number of memory maps.
    maps: usize,
}

impl Memory {
    fn now() -> Self {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let bytes = |name| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
        };
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        Self { memory: bytes("Pss:"), resident: bytes("Rss:"), maps }
    }
}
