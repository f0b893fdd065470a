//! The conformance job in each language: its size, how long its push and its runs take, its memory, and how fast it copies its input.
//!
//! Each program has a daemon of its own. The run that is measured prints one argument. The times are those of a client over a unix socket, so
//! they contain the request.

use std::fs;
use std::time::Instant;

use capstan_tests::frames::Splitter;
use capstan_tests::{Call, Client, Daemon, Setup, guests};
use serde_json::Value;
use tokio::runtime::Builder;

use super::report::median;

/// The name of each language, its program, and the script if the program is an interpreter.
const LANGUAGES: &[(&str, &str, Option<&str>)] = &[
    ("Rust, preview 1", "conformance-rust.p1", None),
    ("Rust, WASI 0.2", "conformance-rust.p2", None),
    ("C", "conformance-c", None),
    ("C++ with exceptions", "conformance-cpp", None),
    ("Lua, script", "conformance-lua", Some("lua/conformance.lua")),
    ("Zig", "conformance-zig", None),
    ("Go", "conformance-go", None),
    ("Python, component", "conformance-python", None),
    ("Python, script", "prebuilt/python", Some("python/app.py")),
    ("JavaScript, component", "conformance-javascript", None),
    ("JavaScript, script", "prebuilt/quickjs", Some("javascript/script.mjs")),
    ("TypeScript, component", "conformance-typescript", None),
    ("AssemblyScript", "conformance-assemblyscript", None),
];

const MIB: f64 = (1 << 20) as f64;

struct Job {
    _daemon: Daemon,
    client: Client,
    script: Option<String>,
}

impl Job {
    fn start(binary: &str, script: Option<&str>) -> Self {
        let app = guests::root().join("tests/guests/conformance");
        let toml = format!("[mounts.app]\npath = {:?}\naccess = \"ro\"\n", app.to_str().unwrap());
        let daemon = Setup::new(binary).config(&toml).start();
        Self { client: daemon.client(), _daemon: daemon, script: script.map(|script| format!("/app/{script}")) }
    }

    fn call(&self, args: &[&str]) -> Call {
        let mut call = self.client.run("job").framed();
        if self.script.is_some() {
            call = call.query("policy", r#"{"mounts":[{"name":"app","access":"ro"}]}"#);
        }
        self.script.as_deref().into_iter().chain(args.iter().copied()).fold(call, Call::arg)
    }

    /// Runs the job once. Returns the milliseconds, and what the run used.
    async fn run(&self) -> (f64, Value) {
        let call = self.call(&["args", "hello"]);
        let began = Instant::now();
        let framed = call.send().await.frames();
        let time = milliseconds(began);
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.stdout, b"hello\n");
        (time, framed.last["usage"].clone())
    }

    /// Streams `bytes` through the job. Returns MiB per second.
    async fn stream(&self, bytes: u64) -> f64 {
        let (call, feed) = self.call(&["stream"]).streaming_body();
        let block = vec![b'x'; 1 << 20];
        let blocks = usize::try_from(bytes).unwrap() / block.len();
        let began = Instant::now();
        tokio::spawn(async move {
            for _ in 0..blocks {
                assert!(feed.send(block.clone()).await);
            }
        });
        let mut exchange = call.open().await;
        let (mut splitter, mut copied) = (Splitter::default(), 0);
        while let Some(piece) = exchange.piece().await {
            let stdout = splitter.push(&piece).into_iter().filter(|(stream, _)| *stream == 1);
            copied += stdout.map(|(_, payload)| payload.len()).sum::<usize>();
        }
        assert_eq!(copied, blocks << 20);
        copied as f64 / MIB / began.elapsed().as_secs_f64()
    }
}

/// Measures the daemon `binary`: `runs` runs of each language, and `streamed` bytes through it.
pub(crate) fn measure(binary: &str, runs: u32, streamed: u64) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "| language | size | push | first run | run | CPU of a run | memory | stdin to stdout |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, program, script) in LANGUAGES {
        let Ok(wasm) = fs::read(guests::compiled_path(program)) else {
            println!("| {name} | not built |||||||");
            continue;
        };
        let size = wasm.len();
        runtime.block_on(async {
            let job = Job::start(binary, *script);
            let began = Instant::now();
            let pushed = job.client.put("/v1/handlers/job", wasm).send().await;
            let push = milliseconds(began);
            if pushed.status != 201 {
                println!("| {name} | {} | refused: {} ||||||", kibibytes(size as f64), pushed.json()["error"]["code"]);
                return;
            }
            let (first, _) = job.run().await;
            let (mut times, mut cpu, mut memory) = (Vec::new(), Vec::new(), 0.0);
            for _ in 0..runs {
                let (time, usage) = job.run().await;
                times.push(time);
                cpu.push(usage["cpu_seconds"].as_f64().unwrap() * 1000.0);
                memory = usage["memory_peak"].as_f64().unwrap();
            }
            let (run, cpu, speed) = (median(times), median(cpu), job.stream(streamed).await);
            println!(
                "| {name} | {} | {push:.0} ms | {first:.1} ms | {run:.2} ms | {cpu:.2} ms | {} | {speed:.0} MiB/s |",
                kibibytes(size as f64),
                kibibytes(memory)
            );
        });
    }
    println!();
}

fn kibibytes(bytes: f64) -> String {
    if bytes < MIB { format!("{:.0} KiB", bytes / 1024.0) } else { format!("{:.1} MiB", bytes / MIB) }
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}
