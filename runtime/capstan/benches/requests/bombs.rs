//! Programs that are small to send and much to compile: what their compilers take before they end, and what others notice of that.

use std::fs;
use std::time::Duration;

use capstan_tests::{Daemon, Reply, Setup, bombs, guests};
use rustix::process::Pid;
use tokio::runtime::{Builder, Runtime};

use super::load::{Figures, Target};
use super::{ROUND, ROUNDS};

/// How often a compiler is looked at.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn measure(binary: &str) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let daemon = Setup::new(binary).start();
    println!("{:<46} {:>7} {:>9} {:>9}", "what a compiler takes", "cpu s", "space MiB", "memory MiB");
    let real = ["jsonstat", "probe.p2"].map(|name| (name, guests::compiled(name)));
    let bombs = bombs::all().into_iter().map(|bomb| (bomb.name, bomb.wasm));
    for (name, wasm) in real.into_iter().chain(bombs) {
        let before = compilers_took(&daemon);
        let (reply, [space, memory]) = runtime.block_on(pushed(&daemon, wasm));
        let seconds = (compilers_took(&daemon) - before).as_secs_f64();
        println!("{name:<46} {seconds:>7.2} {space:>9} {memory:>9}   {}", end(&reply));
    }
    others_notice(&daemon, &runtime);
}

/// What a push came to, and the most address space and memory that its compiler had, in MiB, as far as that was looked at in time.
async fn pushed(daemon: &Daemon, wasm: Vec<u8>) -> (Reply, [u64; 2]) {
    let push = tokio::spawn(daemon.client().put("/v1/handlers/bomb", wasm).send());
    let mut most = [0; 2];
    while !push.is_finished() {
        for child in daemon.children().into_iter().filter(|child| is_compiler(*child)) {
            let now = ["VmPeak:", "VmHWM:"].map(|name| status(child, name));
            most = [most[0].max(now[0]), most[1].max(now[1])];
        }
        tokio::time::sleep(LOOK).await;
    }
    (push.await.unwrap(), most)
}

/// Whether a child is the compiler by now: at first it is a copy of the daemon.
fn is_compiler(child: Pid) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"compile-child")
}

/// An amount that the kernel tells of a process, in MiB; 0 for one that has ended.
fn status(process: Pid, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10)
}

/// Processor time of all compilers that have ended.
fn compilers_took(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // The name in brackets may hold anything; the times of children are the fourteenth and fifteenth field behind it.
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

fn end(reply: &Reply) -> String {
    match reply.status {
        200 | 201 => "compiled".to_owned(),
        _ => reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Asks the daemon whether it is there, in turns alone and beside as many compilers as there may be.
fn others_notice(daemon: &Daemon, runtime: &Runtime) {
    let target = Target::new(daemon.pid(), daemon.addr(), "GET /v1/_ping", b"OK\n");
    target.load_over(1, ROUND / 4);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(target.load_over(1, ROUND));
        // Two that are not the same: one program is compiled once, however many push it. Each takes longer than the round.
        let bombs = (0..2).map(|number| bombs::locals(20_000 + number));
        let pushes: Vec<_> =
            bombs.map(|wasm| runtime.spawn(daemon.client().put("/v1/handlers/bomb", wasm).send())).collect();
        while daemon.children().len() < pushes.len() {
            std::thread::sleep(LOOK);
        }
        beside.push(target.load_over(1, ROUND));
        for push in pushes {
            runtime.block_on(push).unwrap().error(422, "compile_limit");
        }
    }
    println!("\n{:<46} {:>9} {:>9}", "a ping, one after the other", "p50 µs", "p99 µs");
    for (what, rounds) in [("alone", alone), ("beside two compilers", beside)] {
        let Figures { p50, p99, .. } = Figures::median(&rounds);
        println!("{what:<46} {p50:>9.0} {p99:>9.0}");
    }
    println!();
}
