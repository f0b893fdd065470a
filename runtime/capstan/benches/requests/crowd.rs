//! Guests that sleep, as many as there may be: what they hold.

use std::time::{Duration, Instant};

use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_core::outcome::CancelledBy;
use capstan_engine::engine::{self, Engine};
use capstan_engine::job::{Job, JobState};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolver, Sandbox};
use capstan_tests::guests;
use tokio::runtime::Builder;

/// Lets `count` guests of `program` sleep, and tells what that takes.
pub(crate) fn measure(binary: &str, program: &str, count: usize) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = Held::now();
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
    let ready = Held::now();

    let begun = Instant::now();
    let jobs: Vec<_> = runtime.block_on(async {
        let start = || {
            let job = engine.job("sleep").unwrap().args(["sleep", "3600"]).build().unwrap();
            job.start().unwrap();
            job
        };
        let jobs: Vec<Job> = (0..count).map(|_| start()).collect();
        // Each has its instance once the time to make it is known; each computes next to nothing after that.
        while !jobs.iter().all(|job| job.usage().instantiate_seconds > 0.0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let ended = jobs.iter().find(|job| matches!(job.state(), JobState::Done(_)));
            assert!(ended.is_none(), "a sleeper ended: {:?}", ended.map(Job::state));
        }
        engine.counts();
        tokio::time::sleep(Duration::from_secs(1)).await;
        jobs
    });
    let (asleep, took) = (Held::now(), begun.elapsed());
    let each = |now: usize, then: usize| now.saturating_sub(then) as f64 / count as f64;
    println!(
        "(f) {count} guests of {program} that sleep: {} MB ({:.1} kB each; {} MB where what they share counts for each), {} maps ({:.2} each, and {} for the pools), within {took:.1?}",
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

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Bytes of memory, of what is shared only its part: the pages of a program that no guest has written to are one for all.
    memory: usize,
    /// Bytes that are mapped, the same page once for each map.
    resident: usize,
    maps: usize,
}

impl Held {
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
