//! Components that answer HTTP requests, compared with `wasmtime serve` and with a bare proxy, in turns.
//!
//! `CAPSTAN_BENCH_WASMTIME` names the command of wasmtime. Without it, the rows that need it are left out.

#[path = "http/proxy.rs"]
mod proxy;
#[path = "http/slow_clients.rs"]
mod slow_clients;
#[path = "http/wasmtime_serve.rs"]
mod wasmtime_serve;

use std::time::Duration;

use capstan_tests::{Client, Daemon, Setup, guests};
use tokio::runtime::Builder;

use self::wasmtime_serve::WasmtimeServe;
use super::ROUNDS;
use super::load::{Figures, Target};
use super::report::{Goal, Report, Row};

pub(crate) use self::proxy::{requested, serve};

/// The number of connections.
const CONNECTIONS: usize = 32;
/// How many requests an instance answers in the rows with reuse.
const REUSE: u32 = 1000;

/// Measures the daemon `binary` in rounds of the length `round`, and with bodies of `streamed` bytes.
pub(crate) fn measure(binary: &str, round: Duration, streamed: u64, report: &mut Report) {
    // Slots for the slow clients, and for the requests beside them.
    let config = format!("[limits]\nruns = 1500\n[policy]\nreuse = {REUSE}\n");
    let daemon = Setup::new(binary).env("RUST_BACKTRACE", "0").config(&config).start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(push(&daemon.client()));
    rates(&daemon, round, report);
    proxy::measure(&daemon, streamed, report);
    slow_clients::measure(&daemon, round, report);
}

async fn push(client: &Client) {
    let manifest = format!("instances = {{ reuse = {REUSE} }}\n");
    client.push("web", guests::compiled("web")).await;
    let wasm = guests::compiled("web");
    let mut body = Vec::new();
    for (name, content) in [("module", &wasm[..]), ("manifest", manifest.as_bytes())] {
        body.extend(format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    let reused = client.put("/v1/handlers/reused", body).header("content-type", "multipart/form-data; boundary=b");
    let reused = reused.send().await;
    assert_eq!(reused.status, 201, "{}", reused.text());
    client.push("hello", guests::compiled("hello.p1")).await;
}

fn rates(daemon: &Daemon, round: Duration, report: &mut Report) {
    let target = |request: &str| Target::new(daemon.pid(), daemon.addr(), request, b"hello\n");
    let references = std::env::var_os("CAPSTAN_BENCH_WASMTIME").map(|wasmtime| {
        let program = guests::compiled_path("web");
        [1, REUSE].map(|reuse| WasmtimeServe::start(&wasmtime, &program, reuse))
    });
    if references.is_none() {
        println!("CAPSTAN_BENCH_WASMTIME names no command of wasmtime: `wasmtime serve` is not compared");
    }
    let mut compared = Vec::new();
    if let Some([fresh, reused]) = &references {
        compared.push((
            "a wasi:http component ÷ `wasmtime serve`".to_owned(),
            target("GET /x/web/hello"),
            fresh.target("GET /hello"),
            3.0,
        ));
        compared.push((
            format!("the same, {REUSE} requests for each instance ÷ `wasmtime serve`"),
            target("GET /x/reused/hello"),
            reused.target("GET /hello"),
            1.5,
        ));
    }
    if is_answered(daemon, "/x/hello/") {
        compared.push((
            "a command as CGI ÷ its run".to_owned(),
            target("GET /x/hello/"),
            target("POST /handlers/hello/run"),
            0.9,
        ));
    } else {
        println!("the daemon does not answer /x/ with a command: CGI is not compared");
    }
    for (_, capstan, reference, _) in &compared {
        capstan.load_over(CONNECTIONS, round / 4);
        reference.load_over(CONNECTIONS, round / 4);
    }
    let mut rounds: Vec<_> = compared.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for ((_, capstan, reference, _), (ours, theirs)) in compared.iter().zip(&mut rounds) {
            ours.push(capstan.load_over(CONNECTIONS, round));
            theirs.push(reference.load_over(CONNECTIONS, round));
        }
    }
    for ((name, _, _, goal), (ours, theirs)) in compared.iter().zip(rounds) {
        let [ours, theirs] = [ours, theirs].map(|rounds| Figures::median(&rounds).rate / 1000.0);
        report.add(Row::new(name, "k/s", ours, theirs, Goal::AtLeast(*goal)));
    }
}

/// Returns whether a `GET` of the path is answered with 200 and `hello`.
fn is_answered(daemon: &Daemon, path: &str) -> bool {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let reply = runtime.block_on(daemon.client().get(path).send());
    reply.status == 200 && reply.text() == "hello\n"
}
