//! Starts the child that compiles, waits for its response, and finds out why it died if there is none.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use capstan_confinement::{ConfinementReport, Mode};
use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use super::protocol::{CompileRequest, CompileResponse};
use crate::LoadError;
use crate::artifact::memory_file;
use crate::compile_limits::{CompileBudget, CompileLimits};

/// How long a child runs before it gets the lowest priority. Most programs are compiled by then, even on a busy machine.
const LOWEST_PRIORITY_AFTER: Duration = Duration::from_secs(5);
/// The nice value that a child has from then on. It is that of guests.
const LOWEST_PRIORITY: i32 = 19;

/// The most characters of the message of a panic that an error repeats.
const MAX_PANIC_MESSAGE: usize = 300;

/// The exit code of a child that panicked.
const PANIC_EXIT_CODE: i32 = 101;

/// Starts the executable `compiler` as a child that compiles nothing, and returns how it is confined.
///
/// Cancel-safe: dropping the future kills the child.
///
/// # Errors
/// [`LoadError::Unavailable`] if the child cannot start, and under [`Mode::Strict`] also if it is not fully confined.
pub async fn confined_compiler(
    compiler: &Path,
    limits: CompileLimits,
    confine: Mode,
) -> Result<ConfinementReport, LoadError> {
    let request = CompileRequest { budget: limits.budget_for(0), confine, program: None };
    let [input, output] = ["wasm", "artifact"].map(memory_file);
    run(compiler, &request, input.map_err(cannot_start)?, output.map_err(cannot_start)?).await
}

/// Starts the executable `compiler` as a child with `input` as its stdin and `code` as its stdout, and returns its response to `request`.
///
/// Cancel-safe: dropping the future kills the child.
pub(super) async fn run<T: DeserializeOwned>(
    compiler: &Path,
    request: &CompileRequest,
    input: File,
    code: File,
) -> CompileResponse<T> {
    let child = Command::new(compiler)
        .arg("compile-child")
        .arg(serde_json::to_string(request).expect("plain data"))
        .env_clear()
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(code))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Its threads are a group, whose priority can be changed at once.
        .process_group(0)
        .spawn()
        .map_err(cannot_start)?;
    let timeout = request.budget.timeout();
    let Ok(output) = tokio::time::timeout(timeout, wait(child)).await else {
        return Err(LoadError::Unavailable(format!("the compiler did not end within {timeout:?}")));
    };
    let Output { status, stderr, .. } = output.map_err(cannot_start)?;
    match serde_json::from_slice::<CompileResponse<T>>(&stderr) {
        Ok(response) if status.success() => response,
        _ => Err(explain_death(status, &String::from_utf8_lossy(&stderr), request.budget)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
pub(super) fn cannot_start(error: io::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot start the compiler: {error}"))
}

/// Waits for the end of a child. Lowers its priority if it takes long.
async fn wait(child: Child) -> io::Result<Output> {
    let process = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut output = pin!(child.wait_with_output());
    if let Ok(output) = tokio::time::timeout(LOWEST_PRIORITY_AFTER, &mut output).await {
        return output;
    }
    if let Some(process) = process {
        // The child was not reaped yet, so the process ID is still its own. If this fails, it merely gets a larger share of the processor.
        let _ = rustix::process::setpriority_pgrp(Some(process), LOWEST_PRIORITY);
    }
    output.await
}

/// Returns why a child ended without a response. Its own limits end it with one of the signals below, or with a panic. Any other signal
/// comes from the operator or from a machine without free memory.
fn explain_death(status: ExitStatus, stderr: &str, budget: CompileBudget) -> LoadError {
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => LoadError::CompileLimit(format!(
            "{} s of CPU time; raise it with timeout under [compile] in the configuration",
            budget.cpu
        )),
        Some(Signal::ABORT | Signal::SEGV) => budget.out_of_memory(),
        Some(Signal::XFSZ) => {
            LoadError::TooComplex(format!("its compiled code is larger than {} bytes", budget.memory))
        }
        Some(Signal::SYS) => LoadError::Unavailable(
            "the kernel ended the compiler with SIGSYS, because it made a system call that it is not allowed; \
             the log of the kernel shows which"
                .to_owned(),
        ),
        // A compiler without memory aborts or panics, depending on where it runs out. Any other panic would happen each time.
        None if status.code() == Some(PANIC_EXIT_CODE) && stderr.contains("out-of-memory") => budget.out_of_memory(),
        None if status.code() == Some(PANIC_EXIT_CODE) => {
            tracing::warn!(stderr = ?stderr.trim(), "the compiler panicked");
            LoadError::TooComplex(format!("the compiler fails on it: {}", panic_message(stderr)))
        }
        _ => LoadError::Unavailable(format!("the compiler ended with {status}: {}", stderr.trim())),
    }
}

/// Returns the message of a panic in one line, without control characters.
fn panic_message(stderr: &str) -> String {
    let lines = stderr.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    let words: Vec<_> =
        lines.take_while(|line| !line.starts_with("note:") && !line.starts_with("stack backtrace")).collect();
    let words = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let words = if words.is_empty() { stderr.trim() } else { words.as_str() };
    words.escape_debug().to_string().chars().take(MAX_PANIC_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_death_distinguishes_limits_from_outside_causes() {
        let budget = CompileBudget { cpu: 5, memory: 512 };
        let killed = |signal: Signal| explain_death(ExitStatus::from_raw(signal.as_raw()), "", budget);
        for (signal, limit, setting) in
            [(Signal::XCPU, "5 s of CPU time", "timeout"), (Signal::ABORT, "512 bytes of memory", "--compile-memory")]
        {
            let LoadError::CompileLimit(message) = killed(signal) else { panic!("{signal:?}") };
            assert!(message.starts_with(limit) && message.contains(setting), "{message}");
        }
        assert!(matches!(killed(Signal::XFSZ), LoadError::TooComplex(_)));
        assert!(matches!(killed(Signal::SYS), LoadError::Unavailable(why) if why.contains("SIGSYS")));
        for outside in [Signal::KILL, Signal::TERM, Signal::HUP] {
            assert!(matches!(killed(outside), LoadError::Unavailable(_)), "{outside:?}");
        }
        let exited = |code: i32, stderr: &str| explain_death(ExitStatus::from_raw(code << 8), stderr, budget);
        let out_of_memory = "thread 'main' panicked at set.rs:\nunhandled out-of-memory error: out of memory";
        assert_eq!(exited(PANIC_EXIT_CODE, out_of_memory), killed(Signal::ABORT));
        let panic = "thread 'main' panicked at x.rs:1:2:\nno adapter\n  for it\u{1b}\nnote: run with more";
        let expected = LoadError::TooComplex("the compiler fails on it: no adapter for it\\u{1b}".to_owned());
        assert_eq!(exited(PANIC_EXIT_CODE, panic), expected);
        assert!(matches!(exited(1, "cannot set limits"), LoadError::Unavailable(_)));
    }
}
