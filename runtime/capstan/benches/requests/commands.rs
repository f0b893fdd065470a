//! The command in a shell: compilation, the second run of a file, and a gibibyte through `cat`, compared with other programs.
//!
//! `CAPSTAN_BENCH_WASMTIME` names the command of wasmtime. Without it, the rows that need it are left out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use capstan_tests::{Setup, guests};
use tokio::runtime::Builder;

use super::ROUNDS;
use super::report::{Goal, Report, Row, median};

/// Measures the compilation of programs and their second run, of the command `binary`.
pub(crate) fn compile(binary: &str, report: &mut Report) {
    let Some(wasmtime) = std::env::var_os("CAPSTAN_BENCH_WASMTIME") else {
        println!("CAPSTAN_BENCH_WASMTIME names no command of wasmtime: compilation is not compared");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (program, args) in [("jsonstat", &[][..]), ("prebuilt/python", &["-c", "print(1)"])] {
        let file = guests::compiled_path(program);
        if !file.exists() {
            println!("{} is missing: it is not compiled", file.display());
            continue;
        }
        let run = |options: &[&str]| {
            let mut command = in_home(binary, folder.path());
            command.arg("run").args(options).arg(&file).args(args);
            command
        };
        let reference_run = || {
            let mut command = in_home(&wasmtime, folder.path());
            command.args(["run", "-C", "cache"]).arg(&file).args(args);
            command
        };
        let reference_compile = || {
            let mut command = in_home(&wasmtime, folder.path());
            command.arg("compile").arg(&file).arg("-o").arg(folder.path().join("out.cwasm"));
            command
        };
        let (mut compile, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            compile.push(seconds(run(&["--no-cache"])));
            reference.push(seconds(reference_compile()));
        }
        let name = format!("compile and run {program} ÷ `wasmtime compile`");
        report.add(Row::new(&name, "s", median(compile), median(reference), Goal::AtMost(1.1)));
        let (mut second, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..=ROUNDS {
            second.push(seconds(run(&[])) * 1000.0);
            reference.push(seconds(reference_run()) * 1000.0);
        }
        let name = format!("second run of {program} ÷ `wasmtime run` with its cache");
        // The first ones compile.
        report.add(Row::new(
            &name,
            "ms",
            median(second.split_off(1)),
            median(reference.split_off(1)),
            Goal::AtMost(0.5),
        ));
    }
}

/// Measures how fast `cat` copies `size` bytes from a pipe to a pipe: native, in process, by `curl` over the unix socket, and by `run` through the daemon.
pub(crate) fn cat(binary: &str, size: u64, report: &mut Report) {
    let daemon = Setup::new(binary).start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(daemon.client().push("cat", guests::compiled("probe.p1")));
    let host = format!("unix://{}", daemon.unix().display());
    let url = "http://localhost/v1/handlers/cat/run?arg=cat";
    let file = guests::compiled_path("probe.p1");
    let file = file.to_str().unwrap();
    let socket = daemon.unix();
    let socket = socket.to_str().unwrap();
    let mut compared = vec![
        ("in process", vec![binary, "run", "-i", file, "cat"], 0.5),
        ("by `run` through the daemon", vec![binary, "run", "-i", "-H", &host, "cat", "cat"], 0.35),
    ];
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok() {
        let upload = ["curl", "-sS", "--unix-socket", socket, "-H", "expect:", "-T", "-", "-X", "POST", url];
        compared.push(("by curl", upload.to_vec(), 0.4));
    } else {
        println!("there is no curl: it is not compared");
    }
    let (mut native, mut rounds) = (Vec::new(), vec![Vec::new(); compared.len()]);
    for _ in 0..ROUNDS {
        native.push(seconds_of_copy(&["cat"], size, daemon.setup().folder()));
        for ((_, command, _), rounds) in compared.iter().zip(&mut rounds) {
            rounds.push(seconds_of_copy(command, size, daemon.setup().folder()));
        }
    }
    let rate = |rounds| size as f64 / 1e6 / median(rounds);
    let native = rate(native);
    for ((how, _, goal), rounds) in compared.into_iter().zip(rounds) {
        let name = format!("{} MiB through a guest {how} ÷ native `cat`", size >> 20);
        report.add(Row::new(&name, "MB/s", rate(rounds), native, Goal::AtLeast(goal)));
    }
}

fn in_home(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", home).env("XDG_CACHE_HOME", home.join("cache")).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn seconds(mut command: Command) -> f64 {
    let start = Instant::now();
    assert!(command.status().unwrap().success(), "{command:?} failed");
    start.elapsed().as_secs_f64()
}

/// Returns the time in which `command` copies `size` bytes from one pipe to another.
fn seconds_of_copy(command: &[&str], size: u64, home: &Path) -> f64 {
    let mut source =
        Command::new("head").args(["-c", &size.to_string(), "/dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut copy = Command::new(command[0]);
    copy.args(&command[1..]).env("HOME", home).stdin(source.stdout.take().unwrap()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut copy = copy.spawn().unwrap();
    let counted = Command::new("wc").arg("-c").stdin(copy.stdout.take().unwrap()).output().unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    assert!(copy.wait().unwrap().success() && source.wait().unwrap().success(), "{command:?} failed");
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), size.to_string(), "{command:?}");
    elapsed
}
