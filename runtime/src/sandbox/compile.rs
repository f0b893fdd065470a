//! Compiling in a child that can be killed: one small upload can take the compiler minutes and gigabytes.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;
use wasmtime::Engine;

use super::LoadError;
use super::artifact::{Artifact, Receipt, memory_file};
use crate::handler::Kind;

/// Children at a time; each takes a processor and up to its limit of memory.
const CHILDREN: usize = 2;

/// What compiling one program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileLimits {
    /// Wall clock and, rounded up to seconds, processor time. Default 30 s.
    pub timeout: Duration,
    /// Bytes of address space. Default 1 GiB; a Python component of 18 MB needs 448 MiB.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), memory: 1 << 30 }
    }
}

/// What the daemon tells the child, as its one argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) limits: CompileLimits,
}

/// What the child answers on its stderr; the code itself goes to its stdout.
pub(super) type Answer = Result<Receipt, LoadError>;

#[derive(Debug)]
pub(super) struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
    children: Semaphore,
}

impl Compiler {
    pub(super) fn new(program: PathBuf, limits: CompileLimits) -> Self {
        Self { program, limits, children: Semaphore::new(CHILDREN) }
    }

    /// Compiles `wasm` for `engine`. Waits for its turn. Cancel-safe: dropping the future kills the child.
    pub(super) async fn compile(&self, engine: &Engine, kind: Kind, wasm: &[u8]) -> Result<Artifact, LoadError> {
        let _turn = self.children.acquire().await.expect("the semaphore is never closed");
        let unavailable = |error: std::io::Error| LoadError::Unavailable(format!("cannot start the compiler: {error}"));
        let input = filled("wasm", wasm).map_err(unavailable)?;
        let code = memory_file("artifact").map_err(unavailable)?;
        let order = serde_json::to_string(&Order { kind, limits: self.limits }).expect("plain data");
        let child = Command::new(&self.program)
            .arg("compile-child")
            .arg(order)
            .env_clear()
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(code.try_clone().map_err(unavailable)?))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(unavailable)?;
        let Ok(output) = tokio::time::timeout(self.limits.timeout, child.wait_with_output()).await else {
            return Err(LoadError::CompileLimit(format!("{:?} of time", self.limits.timeout)));
        };
        let receipt = self.answer(&output.map_err(unavailable)?)?;
        Artifact::seal(code, kind, &receipt, engine)
    }

    fn answer(&self, output: &Output) -> Answer {
        match serde_json::from_slice::<Answer>(&output.stderr) {
            Ok(answer) if output.status.success() => answer,
            _ => Err(self.death(output.status, &String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Why a child died without an answer.
    fn death(&self, status: ExitStatus, said: &str) -> LoadError {
        let signal = status.signal().and_then(Signal::from_named_raw);
        match signal {
            Some(Signal::XCPU) => LoadError::CompileLimit(format!("{:?} of processor time", self.limits.timeout)),
            Some(Signal::ABORT | Signal::KILL | Signal::SEGV) => {
                LoadError::CompileLimit(format!("{} bytes of memory", self.limits.memory))
            }
            Some(Signal::XFSZ) => LoadError::TooComplex("its compiled code is larger than it may be".to_owned()),
            _ => LoadError::Unavailable(format!("the compiler ended with {status}: {}", said.trim())),
        }
    }
}

fn filled(name: &str, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = memory_file(name)?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
