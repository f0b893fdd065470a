//! The start of the daemon: how long until it responds, with and without stored handlers; and the first run of a handler after a start.
//!
//! The stored handlers are files that are written here, as a daemon writes them, each with a program and code of its own. Nothing reads the
//! content of the programs and of the code at a start, so these files are short. A first start, which is not measured, writes the index.
//!
//! `CAPSTAN_BENCH_WASMTIME` names the command of wasmtime. Without it, the first run is not compared.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capstan_tests::{Daemon, Setup, guests};
use serde_json::Value;
use tokio::runtime::Builder;

use super::ROUNDS;
use super::report::{Goal, Report, Row, median};

/// How many handlers are stored.
const HANDLERS: [usize; 3] = [0, 100, 10_000];

/// How often a request is tried until the daemon listens.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Milliseconds from the start of the process until the first response to each of two requests, and the memory of the daemon after that.
#[derive(Debug, Default)]
struct Started {
    ping: Vec<f64>,
    list: Vec<f64>,
    /// `VmRSS` in MB.
    memory: Vec<f64>,
}

/// Measures the daemon `binary`.
pub(crate) fn measure(binary: &str, report: &mut Report) {
    let setups = HANDLERS.map(|count| stored_handlers(binary, count));
    let mut figures = HANDLERS.map(|_| Started::default());
    for round in 0..=ROUNDS {
        for (setup, figures) in setups.iter().zip(&mut figures) {
            // The daemon prints its addresses later than it may respond.
            let socket = setup.folder().join("s.sock");
            let began = Instant::now();
            let daemon = setup.clone().spawn();
            let first = get(&socket, "/_ping", began);
            let list = get(&socket, "/v1/handlers", began);
            // The first start writes the index.
            if round > 0 {
                figures.ping.push(first);
                figures.list.push(list);
                figures.memory.push(resident_memory(&daemon));
            }
        }
    }
    let [none, some, many] = figures.map(|Started { ping, list, memory }| [median(ping), median(list), median(memory)]);
    for (count, figures) in HANDLERS.into_iter().zip([none, some, many]).skip(1) {
        for (what, unit, index) in [("GET /_ping", "ms", 0), ("GET /handlers", "ms", 1), ("memory", "MB", 2)] {
            let name = format!("start with {count} handlers ÷ with none: {what}");
            report.add(Row::new(&name, unit, figures[index], none[index], None));
        }
        let [ping, list, memory] = [0, 1, 2].map(|index| figures[index] - none[index]);
        println!(
            "with {count} handlers, /_ping responds {ping:.1} ms later, /handlers {list:.1} ms; {memory:.1} MB more"
        );
    }
    first_runs(binary, report);
}

/// Measures the first request after a start, which runs a stored handler.
fn first_runs(binary: &str, report: &mut Report) {
    let Some(wasmtime) = std::env::var_os("CAPSTAN_BENCH_WASMTIME") else {
        println!("CAPSTAN_BENCH_WASMTIME names no command of wasmtime: the first run is not compared");
        return;
    };
    for (program, args, goal) in [
        ("hello.p1", &[][..], Some(Goal::AtMost(0.2))),
        ("prebuilt/python", &["-V"], Some(Goal::AtMost(0.2))),
        ("prebuilt/python", &["-c", "print(1)"], Some(Goal::AtMost(0.2))),
    ] {
        let file = guests::compiled_path(program);
        if !file.exists() {
            println!("{} is missing: it is not measured", file.display());
            continue;
        }
        let setup = Setup::new(binary);
        let daemon = setup.clone().start();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(daemon.client().push("program", fs::read(&file).unwrap()));
        drop(daemon);
        let code = setup.folder().join("out.cwasm");
        let compiled = Command::new(&wasmtime).arg("compile").arg(&file).arg("-o").arg(&code).status().unwrap();
        assert!(compiled.success());
        let (mut first, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let daemon = setup.clone().start();
            first.push(post_run(&daemon.unix(), args));
            drop(daemon);
            let mut command = Command::new(&wasmtime);
            command.args(["run", "--allow-precompiled"]).arg(&code).args(args);
            let began = Instant::now();
            assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
            reference.push(milliseconds(began));
        }
        let name = format!(
            "first run of {program} {}÷ `wasmtime run`, precompiled",
            args.iter().map(|arg| format!("{arg} ")).collect::<String>()
        );
        report.add(Row::new(&name, "ms", median(first), median(reference), goal));
    }
}

/// Returns the setup of a daemon that has `count` stored handlers.
fn stored_handlers(binary: &str, count: usize) -> Setup {
    let setup = Setup::new(binary);
    let daemon = setup.clone().start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = daemon.client();
    runtime.block_on(client.push("h", guests::compiled("hello.p1")));
    let data = setup.folder().join("data");
    let record: Value = serde_json::from_slice(&fs::read(data.join("handlers/h")).unwrap()).unwrap();
    let artifact = fs::read_dir(data.join("artifacts")).unwrap().next().unwrap().unwrap().file_name();
    let artifact = artifact.into_string().unwrap();
    let fingerprint = artifact.split_once('.').unwrap().1;
    for number in 0..count {
        let hex = format!("{number:064x}");
        let mut record = record.clone();
        record["about"]["digest"] = format!("sha256:{hex}").into();
        fs::write(data.join(format!("handlers/h{number}")), serde_json::to_vec_pretty(&record).unwrap()).unwrap();
        fs::write(data.join("programs").join(&hex), "not read").unwrap();
        fs::write(data.join("artifacts").join(format!("{hex}.{fingerprint}")), "not read").unwrap();
    }
    if count == 0 {
        assert_eq!(runtime.block_on(client.delete("/handlers/h").send()).status, 204);
    }
    setup
}

/// Sends `GET path` until it is answered. Returns the milliseconds since `began`.
fn get(socket: &Path, path: &str, began: Instant) -> f64 {
    loop {
        match exchange(socket, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")) {
            Ok(response) if response.starts_with(b"HTTP/1.1 200 ") => return milliseconds(began),
            // The socket does not exist yet.
            _ => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Runs the handler `program`. Returns the milliseconds that it took.
fn post_run(socket: &Path, args: &[&str]) -> f64 {
    let query = args
        .iter()
        .map(|arg| format!("arg={}", arg.replace('(', "%28").replace(')', "%29")))
        .collect::<Vec<_>>()
        .join("&");
    let head = "HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let began = Instant::now();
    let response = exchange(socket, &format!("POST /v1/handlers/program/run?{query} {head}")).unwrap();
    let time = milliseconds(began);
    assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&response));
    time
}

fn exchange(socket: &Path, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(response)
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

fn resident_memory(daemon: &Daemon) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}
