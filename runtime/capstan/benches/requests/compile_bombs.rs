//! Programs that are small to upload and expensive to compile: the resources of their compilers, and the effect on other requests.

use std::fs;
use std::time::Duration;

use capstan_tests::{Daemon, Reply, Setup, bombs, guests};
use rustix::process::Pid;
use tokio::runtime::{Builder, Runtime};

use super::load::{Figures, Target};
use super::{ROUND, ROUNDS};

/// The time between two measurements of a compiler.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) fn measure(binary: &str) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let daemon = Setup::new(binary).start();
    println!("{:<46} {:>7} {:>9} {:>9}", "resources of a compiler", "cpu s", "space MiB", "memory MiB");
    let real = ["jsonstat", "probe.p2"].map(|name| (name, guests::compiled(name)));
    let bombs = bombs::all().into_iter().map(|bomb| (bomb.name, bomb.wasm));
    for (name, wasm) in real.into_iter().chain(bombs) {
        let before = compiler_time(&daemon);
        let (reply, [space, memory]) = runtime.block_on(push(&daemon, wasm));
        let seconds = (compiler_time(&daemon) - before).as_secs_f64();
        println!("{name:<46} {seconds:>7.2} {space:>9} {memory:>9}   {}", result(&reply));
    }
    measure_ping(&daemon, &runtime);
}

/// Pushes a program. Returns the reply, and the peak address space and memory of its compiler in MiB, as far as they were sampled.
async fn push(daemon: &Daemon, wasm: Vec<u8>) -> (Reply, [u64; 2]) {
    let pushing = tokio::spawn(daemon.client().put("/v1/handlers/bomb", wasm).send());
    let mut peak = [0; 2];
    while !pushing.is_finished() {
        for child in daemon.children().into_iter().filter(|child| is_compiler(*child)) {
            let now = ["VmPeak:", "VmHWM:"].map(|name| status(child, name));
            peak = [peak[0].max(now[0]), peak[1].max(now[1])];
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
    (pushing.await.unwrap(), peak)
}

/// Returns whether a child has become the compiler. Before its exec, it is a copy of the daemon.
fn is_compiler(child: Pid) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"compile-child")
}

/// Returns a value from the status of a process, in MiB. Returns 0 if the process has ended.
fn status(process: Pid, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10)
}

/// Returns the processor time of all compilers that have ended.
fn compiler_time(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // The name in parentheses may contain anything. The times of children are fields 14 and 15 after it.
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Describes how a push ended.
fn result(reply: &Reply) -> String {
    match reply.status {
        200 | 201 => "compiled".to_owned(),
        _ => reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Measures `/_ping` alone and beside the maximum number of compilers, in turns.
fn measure_ping(daemon: &Daemon, runtime: &Runtime) {
    let target = Target::new(daemon.pid(), daemon.addr(), "GET /v1/_ping", b"OK\n");
    target.load_over(1, ROUND / 4);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(target.load_over(1, ROUND));
        // Two different programs, because the same program is compiled only once. Each takes longer than the round.
        let bombs = (0..2).map(|number| bombs::locals(20_000 + number));
        let pushes: Vec<_> =
            bombs.map(|wasm| runtime.spawn(daemon.client().put("/v1/handlers/bomb", wasm).send())).collect();
        while daemon.children().len() < pushes.len() {
            std::thread::sleep(SAMPLE_INTERVAL);
        }
        beside.push(target.load_over(1, ROUND));
        for push in pushes {
            runtime.block_on(push).unwrap().error(422, "compile_limit");
        }
    }
    println!("\n{:<46} {:>9} {:>9}", "/_ping, one request at a time", "p50 µs", "p99 µs");
    for (what, rounds) in [("alone", alone), ("beside two compilers", beside)] {
        let Figures { p50, p99, .. } = Figures::median(&rounds);
        println!("{what:<46} {p50:>9.0} {p99:>9.0}");
    }
    println!();
}
