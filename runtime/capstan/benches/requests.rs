//! Measures the cost of a run: requests per second of the daemon, compared with a bare server and with processes.
//!
//! ```text
//! (a) a bare hyper server that responds with `hello`     (d) a static native program, spawned and read
//! (b) POST /handlers/hello/run, a core module from Rust  (e) (b) beside 32 guests that spin
//! (c) the same program as a component                    (f) /_ping beside them; (g) and (h): (f) and (e) with one client
//! ```
//!
//! `ratios` compares the daemon with [reference servers](reference_server), `compile` and `cat` compare the command with others, and `start`
//! measures how long the daemon takes until it responds, and the first run after that. `http` compares handlers that answer HTTP requests with
//! `wasmtime serve` and with a bare proxy. Their figures,
//! and those of `inside`, are printed as one table at the end. `save=NAME` saves it, and `compare A B` compares two saved tables. `smoke` only
//! shows that they work.
//!
//! Other measurements, by name: `inside` is runs in this process, `overshoot` how far a run exceeds its limits, `bombs` the cost of programs
//! that are expensive to compile, `crowd` the memory of 10,000 guests that sleep, and `languages` the same job in each language. Without a name, all are measured.
//!
//! (a) to (d) take turns in short rounds, so that other load on the machine affects all of them, and the medians are printed. Each server is a
//! separate process. The daemon is the real binary with its default settings, and logs into a file. The bare server has as many threads as the
//! daemon's control side. The load comes from one thread of this process, over 16 keep-alive connections on loopback. `crowd` and `inside` use
//! the library in this process, without connections.
//!
//! `CAPSTAN_BENCH_BINARY` names another binary of the daemon, for example a release build.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports by panicking, and reads its own process"
)]

#[path = "requests/commands.rs"]
mod commands;
#[path = "requests/compile_bombs.rs"]
mod compile_bombs;
#[path = "requests/http.rs"]
mod http;
#[path = "requests/in_process.rs"]
mod in_process;
#[path = "requests/languages.rs"]
mod languages;
#[path = "requests/load.rs"]
mod load;
#[path = "requests/native.rs"]
mod native;
#[path = "requests/overshoot.rs"]
mod overshoot;
#[path = "requests/ratios.rs"]
mod ratios;
#[path = "requests/reference_server.rs"]
mod reference_server;
#[path = "requests/report.rs"]
mod report;
#[path = "requests/sleeping_guests.rs"]
mod sleeping_guests;
#[path = "requests/start.rs"]
mod start;
#[path = "requests/thinnest_run.rs"]
mod thinnest_run;

use std::time::Duration;

use capstan_tests::{Daemon, Exchange, Setup, guests};
use tokio::runtime::Builder;

use self::load::{Figures, Target};
use self::report::Report;

/// The number of rounds of each measurement.
const ROUNDS: usize = 5;
/// The length of a round.
const ROUND: Duration = Duration::from_secs(2);
/// How much the measurements of the table do.
struct Scale {
    /// The length of a round of requests.
    round: Duration,
    /// The number of runs in a round in process.
    runs: u32,
    /// Bytes that go through `cat`.
    streamed: u64,
    /// Bytes of a body that a guest echoes.
    body: u64,
}

impl Scale {
    const FULL: Self = Self { round: ROUND, runs: 20_000, streamed: 1 << 30, body: 100_000_000 };
    /// Enough to see that the benchmark works, and not to measure anything.
    const SMOKE: Self = Self { round: Duration::from_millis(50), runs: 100, streamed: 16 << 20, body: 10_000_000 };
}

/// The number of runs of a language.
const LANGUAGE_RUNS: u32 = 50;
/// The number of guests that spin.
const SPINNING: usize = 32;
/// The number of guests that sleep.
const SLEEPING: usize = 10_000;

fn main() {
    if let Some(guest) = reference_server::requested() {
        return reference_server::serve(&guest);
    }
    if http::requested() {
        return http::serve();
    }
    let binary = std::env::var("CAPSTAN_BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_capstan").to_owned());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{processors} processors for servers and load together; daemon: {binary}\n");

    // Arguments of cargo start with `--`.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [compare, before, after] = &only[..]
        && compare == "compare"
    {
        return Report::compare(before, after);
    }
    let saved_as = only.iter().find_map(|arg| arg.strip_prefix("save="));
    let is_smoke = only.iter().any(|arg| arg == "smoke");
    let scale = if is_smoke { Scale::SMOKE } else { Scale::FULL };
    let names = only.len() - usize::from(saved_as.is_some());
    let is_in_table = |name: &str| ["inside", "ratios", "cat", "http"].contains(&name);
    let is_selected =
        |name: &str| names == 0 || is_smoke && is_in_table(name) || only.iter().any(|selected| selected == name);
    let mut report = Report::default();
    if is_selected("inside") {
        ["hello.p1", "hello.p2"]
            .into_iter()
            .for_each(|program| in_process::measure(&binary, program, scale.runs, &mut report));
    }
    if is_selected("ratios") {
        ratios::measure(&binary, scale.round, &mut report);
    }
    if is_selected("http") {
        http::measure(&binary, scale.round, scale.body, &mut report);
    }
    if is_selected("compile") {
        commands::compile(&binary, &mut report);
    }
    if is_selected("cat") {
        commands::cat(&binary, scale.streamed, &mut report);
    }
    if is_selected("start") {
        start::measure(&binary, &mut report);
    }
    if !report.is_empty() {
        println!("{report}");
    }
    if let Some(name) = saved_as {
        report.save(name);
    }
    if is_selected("languages") {
        languages::measure(&binary, LANGUAGE_RUNS, 64 << 20);
    }
    if is_selected("requests") {
        requests(&binary);
    }
    if is_selected("overshoot") {
        overshoot::measure(&binary);
    }
    if is_selected("bombs") {
        compile_bombs::measure(&binary);
    }
    if is_selected("crowd") {
        let count = only.iter().find_map(|arg| arg.parse().ok()).unwrap_or(SLEEPING);
        for program in ["probe.p1", "probe.p2"] {
            sleeping_guests::measure(&binary, program, count);
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
    let bare = reference_server::Server::start("");
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
    // One request at a time, like a monitor.
    let g: Vec<_> = (0..ROUNDS).map(|_| ping.load_over(1, ROUND)).collect();
    let h: Vec<_> = (0..ROUNDS).map(|_| module.load_over(1, ROUND)).collect();
    drop(spinning);

    let base = Figures::median(&a).rate;
    println!("{:<44} {:>10} {:>8} {:>9} {:>9} {:>9}", "", "per second", "of (a)", "cpu µs", "p50 µs", "p99 µs");
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

/// Starts guests that spin until the returned exchanges are dropped.
async fn spin(daemon: &Daemon) -> Vec<Exchange> {
    let client = daemon.client();
    let mut spinning = Vec::new();
    for _ in 0..SPINNING {
        spinning.push(client.run("probe").arg("spin").open().await);
    }
    assert_eq!(client.running().await, SPINNING as u64);
    spinning
}
