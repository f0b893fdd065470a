//! Runs in this process, one after the other and without connections: the time of the engine and the sandbox alone.

use std::time::Instant;

use capstan_core::limits::Limits;
use capstan_core::manifest::Manifest;
use capstan_engine::engine::{self, Engine};
use capstan_engine::tasks::Tasks;
use capstan_sandbox::{CompileLimits, Metering, Resolver, Sandbox, TrustedRoots};
use capstan_tests::guests;
use tokio::runtime::Builder;

use super::report::{Report, Row, median};
use super::thinnest_run;

const ROUNDS: usize = 5;

/// Measures a run of `program`.
pub(crate) fn measure(binary: &str, program: &str, runs: u32, report: &mut Report) {
    let time = measure_with((binary, program, runs), Tasks::default(), "");
    measure_with((binary, program, runs), Tasks::tracked(), ", in debug mode");
    let reference = measure_thinnest(program, runs);
    report.add(Row::new(
        &format!("a run of {program} in process ÷ the thinnest run of it"),
        "µs",
        time,
        reference,
        None,
    ));
}

/// Returns the time of a thinnest run of `program`, in microseconds, as the median of the rounds.
fn measure_thinnest(program: &str, runs: u32) -> f64 {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let thinnest = thinnest_run::Program::compile(&guests::compiled(program));
    let rounds = (0..ROUNDS)
        .map(|_| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..runs {
                    assert_eq!(thinnest.run().await, "hello\n");
                }
                start.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
            })
        })
        .collect();
    median(rounds)
}

/// Prints and returns the time of a run in microseconds, as the median of the rounds.
fn measure_with((binary, program, runs): (&str, &str, u32), tasks: Tasks, mode: &str) -> f64 {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ceiling = Limits::default();
    let compile = CompileLimits::default();
    let config = capstan_sandbox::Config {
        ceiling,
        runs: 100,
        stack: capstan_sandbox::DEFAULT_STACK,
        compile,
        compiler: binary.into(),
        confine: capstan_confinement::Mode::default(),
        artifacts: None,
        tasks,
        resolver: Resolver::default(),
        roots: TrustedRoots::default(),
    };
    let (sandbox, engine) = (
        Sandbox::new(config).unwrap(),
        Engine::new(engine::Config {
            ceiling: capstan_core::policy::Ceiling::with_limits(ceiling),
            runs: 100,
            queue: 0,
        }),
    );
    let handler =
        runtime.block_on(sandbox.load(guests::compiled(program).into(), Manifest::default(), Metering::Off)).unwrap();
    engine.register("hello", handler).unwrap();
    let time = median((0..ROUNDS).map(|_| runtime.block_on(round(&engine, runs))).collect());
    println!("{:<60} {time:>9.1} µs per run", format!("{program} in process, one after the other{mode}"));
    time
}

/// Returns the time of a run in microseconds, as the mean of a round.
async fn round(engine: &Engine, runs: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..runs {
        let job = engine.job("hello").unwrap().build().unwrap();
        job.start().unwrap();
        assert!(job.wait().await.outcome.is_success());
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
}
