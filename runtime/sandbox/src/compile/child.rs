//! The child that compiles, from outside: what it is told, what it answers, how long it is waited for, and what its death means.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use capstan_confinement::{ConfinementReport, Mode};
use capstan_engine::handler::Kind;
use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{Budget, CompileLimits};
use crate::LoadError;
use crate::artifact::{Receipt, memory_file};
use crate::profile::Profile;

/// How long a child has before all others are preferred to it. Most programs are compiled by then, on a busy machine too.
const BEFORE_LAST: Duration = Duration::from_secs(5);
/// The priority that it has from then on, which is that of guests.
const LAST: i32 = 19;

/// The status of a child that has panicked.
const PANICKED: i32 = 101;

/// What the daemon tells the child, as its one argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) budget: Budget,
    pub(crate) confine: Mode,
    /// What to compile; nothing where the child shall only say what it has given up.
    pub(crate) program: Option<Ordered>,
}

/// What stdin holds, and for which engine it shall be compiled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ordered {
    pub(crate) kind: Kind,
    pub(crate) profile: Profile,
}

/// What the child answers on its stderr: a [`Receipt`], whose code goes to its stdout, or [`ConfinementReport`] where it compiled nothing.
pub(crate) type Answer<T = Receipt> = Result<T, LoadError>;

/// What a child of `program` gives up before it compiles, told by one that compiles nothing. Cancel-safe: dropping the future kills it.
///
/// # Errors
/// [`LoadError::Unavailable`] where there would be no child to compile, under [`Mode::Strict`] also where it would give up less than all.
pub async fn confined_compiler(
    program: &Path,
    limits: CompileLimits,
    confine: Mode,
) -> Result<ConfinementReport, LoadError> {
    let order = Order { budget: limits.of(0), confine, program: None };
    let [input, output] = ["wasm", "artifact"].map(memory_file);
    answer(program, &order, input.map_err(unavailable)?, output.map_err(unavailable)?).await
}

/// What a child answers to `order`. Cancel-safe: dropping the future kills it.
pub(super) async fn answer<T: DeserializeOwned>(program: &Path, order: &Order, input: File, code: File) -> Answer<T> {
    let child = Command::new(program)
        .arg("compile-child")
        .arg(serde_json::to_string(order).expect("plain data"))
        .env_clear()
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(code))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(unavailable)?;
    let wall_clock = order.budget.wall_clock();
    let Ok(output) = tokio::time::timeout(wall_clock, end(child)).await else {
        return Err(LoadError::Unavailable(format!("the compiler did not end within {wall_clock:?}")));
    };
    let Output { status, stderr, .. } = output.map_err(unavailable)?;
    match serde_json::from_slice::<Answer<T>>(&stderr) {
        Ok(answer) if status.success() => answer,
        _ => Err(death(status, &String::from_utf8_lossy(&stderr), order.budget)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub(super) fn unavailable(error: io::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot start the compiler: {error}"))
}

/// Waits for the end of a child, the longer the more patiently.
async fn end(child: Child) -> io::Result<Output> {
    let process = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut end = pin!(child.wait_with_output());
    if let Ok(output) = tokio::time::timeout(BEFORE_LAST, &mut end).await {
        return output;
    }
    if let Some(process) = process {
        // It was not waited for yet, so that the number is its own. Without this it only gets a larger share.
        let _ = rustix::process::setpriority_process(Some(process), LAST);
    }
    end.await
}

/// Why a child died without an answer. None of its own limits kills it outright: who did was the operator, or a machine without memory.
fn death(status: ExitStatus, said: &str, budget: Budget) -> LoadError {
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => LoadError::CompileLimit(format!("{} s of processor time", budget.cpu)),
        Some(Signal::ABORT | Signal::SEGV) => budget.no_memory(),
        Some(Signal::XFSZ) => LoadError::TooComplex("its compiled code is larger than it may be".to_owned()),
        Some(Signal::SYS) => LoadError::Unavailable(
            "the compiler was ended by SIGSYS: it asked the kernel for what it has given up, see the kernel's log"
                .to_owned(),
        ),
        // Where the compiler finds no memory it aborts or panics, as the place has it. What else it panics at, it would each time.
        None if status.code() == Some(PANICKED) && said.contains("out-of-memory") => budget.no_memory(),
        None if status.code() == Some(PANICKED) => {
            tracing::warn!(said = ?said.trim(), "the compiler panicked");
            LoadError::TooComplex("the compiler fails on it".to_owned())
        }
        _ => LoadError::Unavailable(format!("the compiler ended with {status}: {}", said.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_tells_whose_fault_it_was() {
        let budget = Budget { cpu: 5, memory: 512 };
        let killed = |signal: Signal| death(ExitStatus::from_raw(signal.as_raw()), "", budget);
        assert_eq!(killed(Signal::XCPU), LoadError::CompileLimit("5 s of processor time".to_owned()));
        assert_eq!(killed(Signal::ABORT), LoadError::CompileLimit("512 bytes of memory".to_owned()));
        assert!(matches!(killed(Signal::XFSZ), LoadError::TooComplex(_)));
        assert!(matches!(killed(Signal::SYS), LoadError::Unavailable(why) if why.contains("SIGSYS")));
        for outside in [Signal::KILL, Signal::TERM, Signal::HUP] {
            assert!(matches!(killed(outside), LoadError::Unavailable(_)), "{outside:?}");
        }
        let exited = |code: i32, said: &str| death(ExitStatus::from_raw(code << 8), said, budget);
        let no_memory = "thread 'main' panicked at set.rs:\nunhandled out-of-memory error: out of memory";
        assert_eq!(exited(PANICKED, no_memory), killed(Signal::ABORT));
        assert!(matches!(exited(PANICKED, "thread 'main' panicked at x.rs"), LoadError::TooComplex(_)));
        assert!(matches!(exited(1, "cannot set limits"), LoadError::Unavailable(_)));
    }
}
