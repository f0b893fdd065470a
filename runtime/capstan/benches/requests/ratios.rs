//! Requests per second, compared with the reference servers, in turns.

use std::time::Duration;

use capstan_tests::{Daemon, Setup, guests};
use tokio::runtime::Builder;

use super::ROUNDS;
use super::load::{Figures, Target};
use super::reference_server::Server;
use super::report::{Goal, Report, Row};

/// The number of connections.
const CONNECTIONS: usize = 32;

/// Measures the daemon `binary` in rounds of this length.
pub(crate) fn measure(binary: &str, round: Duration, report: &mut Report) {
    let [usual, traced, silent] = [("0", "warn,capstan=info"), ("1", "warn,capstan=info"), ("0", "error")]
        .map(|(backtrace, log)| start(binary, backtrace, log));
    let servers = ["", "hello.p1", "hello.p2"].map(Server::start);
    let run = |daemon: &Daemon, name: &str| {
        Target::new(daemon.pid(), daemon.addr(), &format!("POST /v1/handlers/{name}/run"), b"hello\n")
    };
    let serve = |server: &Server| Target::new(server.pid(), server.address(), "POST /", b"hello\n");
    let targets = [
        serve(&servers[0]),
        serve(&servers[1]),
        serve(&servers[2]),
        run(&usual, "p1"),
        run(&usual, "p2"),
        run(&traced, "exits"),
        run(&usual, "exits"),
        run(&silent, "p1"),
    ];
    for target in &targets {
        target.load_over(CONNECTIONS, round / 4);
    }
    let mut rounds = targets.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (target, rounds) in targets.iter().zip(&mut rounds) {
            rounds.push(target.load_over(CONNECTIONS, round));
        }
    }
    let [bare, thin_p1, thin_p2, p1, p2, traced, exits, silent] =
        rounds.map(|rounds| Figures::median(&rounds).rate / 1000.0);
    let mut add = |name: &str, capstan, reference, goal| {
        report.add(Row::new(name, "k/s", capstan, reference, Goal::AtLeast(goal)));
    };
    add("requests for a module ÷ the thinnest run of it", p1, thin_p1, 0.9);
    add("requests for a component ÷ the thinnest run of it", p2, thin_p2, 0.9);
    add("requests for a module ÷ bare hyper", p1, bare, 0.55);
    add("requests for a module that exits, RUST_BACKTRACE=1 ÷ 0", traced, exits, 0.98);
    add("requests for a module, with a job log ÷ without", p1, silent, 0.95);
}

/// Starts a daemon with the handlers that are measured.
fn start(binary: &str, backtrace: &str, log: &str) -> Daemon {
    let daemon = Setup::new(binary).env("RUST_BACKTRACE", backtrace).env("CAPSTAN_LOG", log).start();
    let client = daemon.client();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        client.push("p1", guests::compiled("hello.p1")).await;
        client.push("p2", guests::compiled("hello.p2")).await;
        client.push("exits", wat::parse_str(EXITS).unwrap()).await;
    });
    daemon
}

/// A program that prints `hello` and ends by `proc_exit`.
const EXITS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (call $exit (i32.const 0))))"#;
