//! What a run costs, beside what else there is: requests a second of the daemon, of a bare server, and of processes.
//!
//! ```text
//! (a) a bare hyper server that answers `hello`           (d) a static native program, spawned and read
//! (b) POST /handlers/hello/run, a module of Rust         (e) (b) beside 32 guests that spin
//! (c) the same program as a component                    (f) /_ping beside them; (g) (h) these two with one client
//! ```
//!
//! `overshoot` is how far beyond its limits a run gets, `crowd` what 10,000 guests that sleep take.
//!
//! (a), (b), (c) and (d) take turns in short rounds, so that what else the machine does falls on all alike; the medians are shown. Servers
//! are processes of their own: the daemon is the real binary, with its log into a file, as it comes; the bare server has as many threads as
//! the daemon's control side. The load is one thread of this process with 16 connections that are kept alive, over loopback. The crowd is the
//! library in this process, and so without connections.
//!
//! `CAPSTAN_BENCH_BINARY` names another binary of the daemon to measure, a release build for example.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports by panicking, and reads its own process"
)]

#[path = "requests/bare.rs"]
mod bare;
#[path = "requests/bombs.rs"]
mod bombs;
#[path = "requests/crowd.rs"]
mod crowd;
#[path = "requests/inside.rs"]
mod inside;
#[path = "requests/load.rs"]
mod load;
#[path = "requests/native.rs"]
mod native;
#[path = "requests/overshoot.rs"]
mod overshoot;

use std::time::Duration;

use capstan_tests::{Daemon, Exchange, Setup, guests};
use tokio::runtime::Builder;

use self::load::{Figures, Target};

/// Rounds of each that takes turns.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// Guests that spin.
const SPINNING: usize = 32;
/// Guests that sleep.
const SLEEPING: usize = 10_000;

fn main() {
    if bare::is_asked_for() {
        return bare::serve();
    }
    let binary = std::env::var("CAPSTAN_BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_capstan").to_owned());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{processors} processors in all, for servers and load; daemon: {binary}\n");

    // A cargo that looks for tests in benchmarks gets the list it wants.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|asked| asked == name);
    if wanted("inside") {
        ["hello.p1", "hello.p2"].into_iter().for_each(|program| inside::measure(&binary, program));
    }
    if wanted("requests") {
        requests(&binary);
    }
    if wanted("overshoot") {
        overshoot::measure(&binary);
    }
    if wanted("bombs") {
        bombs::measure(&binary);
    }
    if wanted("crowd") {
        let count = only.iter().find_map(|arg| arg.parse().ok()).unwrap_or(SLEEPING);
        for program in ["probe.p1", "probe.p2"] {
            crowd::measure(&binary, program, count);
        }
    }
}

fn requests(binary: &str) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let daemon = Setup::new(binary).config("[policy]\ntimeout = \"10m\"\n").start();
    let client = daemon.client();
    runtime.block_on(async {
        client.push("p1", guests::compiled("hello.p1")).await;
        client.push("p2", guests::compiled("hello.p2")).await;
        client.push("probe", guests::compiled("probe.p1")).await;
    });
    let bare = bare::Server::start();
    let native = native::Program::build();

    let served = Target::new(bare.pid(), bare.address(), "POST /", b"hello\n");
    let run = |path: &str| Target::new(daemon.pid(), daemon.addr(), path, b"hello\n");
    let (module, component) = (run("POST /v1/handlers/p1/run"), run("POST /v1/handlers/p2/run"));
    let ping = Target::new(daemon.pid(), daemon.addr(), "GET /_ping", b"OK");
    for warm in [&served, &module, &component] {
        warm.load(ROUND / 4);
    }
    let (mut a, mut b, mut c, mut d) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        a.push(served.load(ROUND));
        b.push(module.load(ROUND));
        c.push(component.load(ROUND));
        d.push(native.spawn(ROUND / 2));
    }
    let spinning = runtime.block_on(spin(&daemon));
    let e: Vec<_> = (0..ROUNDS).map(|_| module.load(ROUND)).collect();
    let f: Vec<_> = (0..ROUNDS).map(|_| ping.load(ROUND)).collect();
    // As a watcher asks: one after the other.
    let g: Vec<_> = (0..ROUNDS).map(|_| ping.load_over(1, ROUND)).collect();
    let h: Vec<_> = (0..ROUNDS).map(|_| module.load_over(1, ROUND)).collect();
    drop(spinning);

    let base = Figures::median(&a).rate;
    println!("{:<44} {:>10} {:>8} {:>9} {:>9} {:>9}", "", "a second", "of (a)", "cpu µs", "p50 µs", "p99 µs");
    for (name, rounds) in [
        ("(a) bare hyper", &a),
        ("(b) a run of a module", &b),
        ("(c) a run of a component", &c),
        (native.name(), &d),
        ("(e) (b) beside 32 guests that spin", &e),
        ("(f) /_ping beside 32 guests that spin", &f),
        ("(g) the same, one client", &g),
        ("(h) (b) beside them, one client", &h),
    ] {
        let Figures { rate, cpu, p50, p99 } = Figures::median(rounds);
        println!("{name:<44} {rate:>10.0} {:>8.2} {cpu:>9.1} {p50:>9.0} {p99:>9.0}", rate / base);
    }
    println!("(e) keeps {:.0} % of (b)\n", 100.0 * Figures::median(&e).rate / Figures::median(&b).rate);
}

/// Guests that spin until what comes of this is dropped.
async fn spin(daemon: &Daemon) -> Vec<Exchange> {
    let client = daemon.client();
    let mut spinning = Vec::new();
    for _ in 0..SPINNING {
        spinning.push(client.run("probe").arg("spin").open().await);
    }
    assert_eq!(client.running().await, SPINNING as u64);
    spinning
}
