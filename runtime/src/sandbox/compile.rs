//! Compiling in a child that can be killed: one small upload can take the compiler minutes and gigabytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore};

use super::artifact::{Artifact, Receipt, filled, memory_file};
use super::machine::Machine;
use super::profile::Profile;
use super::{Config, LoadError};
use crate::confine::{Confined, Mode};
use crate::handler::Kind;
use crate::metrics::Labelled;
use crate::store::{Artifacts, blocking};
use crate::tasks::Tasks;

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
    pub(super) limits: CompileLimits,
    pub(super) confine: Mode,
    /// What to compile; nothing where the child shall only say what it has given up.
    pub(super) program: Option<Ordered>,
}

/// What stdin holds, and for which engine it shall be compiled.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ordered {
    pub(super) kind: Kind,
    pub(super) profile: Profile,
}

/// What the child answers on its stderr: a [`Receipt`], whose code goes to its stdout, or [`Confined`] where it compiled nothing.
pub(super) type Answer<T = Receipt> = Result<T, LoadError>;

#[derive(Debug)]
pub(super) struct Compiler {
    tasks: Tasks,
    program: PathBuf,
    limits: CompileLimits,
    confine: Mode,
    children: Semaphore,
    kept: Option<Artifacts>,
    going: Mutex<HashMap<Key, Weak<Going>>>,
    results: Labelled<1, Counter>,
}

/// What came of a load that nobody else was at: the place is that in [`RESULTS`].
#[derive(Clone, Copy, Debug)]
enum Came {
    Kept,
    Compiled,
    Refused,
    OverLimit,
    Unavailable,
}

const RESULTS: [&str; 5] = ["kept", "compiled", "refused", "over_limit", "unavailable"];

/// Compiling, at one moment.
#[derive(Debug)]
pub(crate) struct Compiles {
    /// Children that compile now.
    pub(crate) going: usize,
    /// What came of programs that were asked for.
    pub(crate) results: Labelled<1, Counter>,
}

/// A program, and what its code must be made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: String,
    fingerprint: String,
}

/// One program's way to its artifact; all who load it at the same time wait for the same.
type Going = OnceCell<Arc<Artifact>>;

impl Compiler {
    /// With `fingerprint` of the default profile; other code of that profile is cleared away.
    pub(super) fn new(fingerprint: &str, config: Config) -> Self {
        if let Some(Err(error)) = config.artifacts.as_ref().map(|kept| kept.retain(fingerprint)) {
            tracing::warn!(%error, "old compiled code stays");
        }
        Self {
            tasks: config.tasks,
            program: config.compiler,
            limits: config.compile,
            confine: config.confine,
            children: Semaphore::new(CHILDREN),
            kept: config.artifacts,
            going: Mutex::default(),
            results: Labelled::new(RESULTS.map(|result| [("result", result)])),
        }
    }

    pub(super) fn compiles(&self) -> Compiles {
        Compiles { going: CHILDREN - self.children.available_permits(), results: self.results.clone() }
    }

    fn count(&self, came: Came) {
        self.results.at(came as usize).inc();
    }

    /// The artifact of the program `wasm`, kept from before or compiled now. Cancel-safe.
    pub(super) async fn artifact(
        &self,
        machine: &Machine,
        kind: Kind,
        wasm: &Bytes,
        digest: &str,
    ) -> Result<Arc<Artifact>, LoadError> {
        let key = Key { digest: digest.to_owned(), fingerprint: machine.fingerprint.clone() };
        let going = self.going(&key);
        let artifact = going.get_or_try_init(|| async {
            if let Some(code) = self.kept_code(&key).await {
                self.count(Came::Kept);
                return Artifact::authentic(&code, kind).map(Arc::new);
            }
            let compiled = self.compile(machine, kind, wasm).await;
            self.count(Came::of(&compiled));
            let artifact = compiled?;
            self.keep(&key, &artifact).await;
            Ok(Arc::new(artifact))
        });
        artifact.await.cloned()
    }

    fn going(&self, key: &Key) -> Arc<Going> {
        let mut going = self.going.lock().expect("no panic while the lock is held");
        going.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = going.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(Going::new());
        going.insert(key.clone(), Arc::downgrade(&cell));
        cell
    }

    async fn kept_code(&self, key: &Key) -> Option<Vec<u8>> {
        let (kept, Key { digest, fingerprint }) = (self.kept.clone()?, key.clone());
        blocking(move || kept.get(&digest, &fingerprint)).await
    }

    /// Keeps what was compiled. A full disk costs the next start its time and this load nothing.
    async fn keep(&self, key: &Key, artifact: &Artifact) {
        let Some(kept) = self.kept.clone() else { return };
        let Key { digest, fingerprint } = key.clone();
        let code = artifact.code();
        let written = blocking(move || {
            let code = code?;
            // What a further profile was before, nobody looked for at start.
            Ok::<_, io::Error>(kept.put(&digest, &fingerprint, &code).and_then(|()| kept.retain(&fingerprint)))
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "compiled code is not kept"),
            Err(error) => tracing::warn!(%error, "compiled code is not kept"),
        }
    }

    /// Compiles `wasm` for `machine`. Waits for its turn. Cancel-safe: dropping the future kills the child.
    async fn compile(&self, machine: &Machine, kind: Kind, wasm: &[u8]) -> Result<Artifact, LoadError> {
        let _turn = self.children.acquire().await.expect("the semaphore is never closed");
        let _note = self.tasks.note("sandbox", || format!("compiler of {} bytes", wasm.len()));
        let input = filled("wasm", wasm).map_err(unavailable)?;
        let code = memory_file("artifact").map_err(unavailable)?;
        let program = Some(Ordered { kind, profile: machine.profile.clone() });
        let order = Order { limits: self.limits, confine: self.confine, program };
        let receipt = answer(&self.program, &order, input, code.try_clone().map_err(unavailable)?).await?;
        Artifact::compiled(code, kind, &receipt, &machine.fingerprint)
    }
}

/// What a child of `program` gives up before it compiles, told by one that compiles nothing. Cancel-safe: dropping the future kills it.
///
/// # Errors
/// [`LoadError::Unavailable`] where there would be no child to compile, under [`Mode::Strict`] also where it would give up less than all.
pub async fn confined_compiler(program: &Path, limits: CompileLimits, confine: Mode) -> Result<Confined, LoadError> {
    let order = Order { limits, confine, program: None };
    let [input, output] = ["wasm", "artifact"].map(memory_file);
    answer(program, &order, input.map_err(unavailable)?, output.map_err(unavailable)?).await
}

/// What a child answers to `order`.
async fn answer<T: DeserializeOwned>(program: &Path, order: &Order, input: File, code: File) -> Answer<T> {
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
    let limits = &order.limits;
    let Ok(output) = tokio::time::timeout(limits.timeout, child.wait_with_output()).await else {
        return Err(LoadError::CompileLimit(format!("{:?} of time", limits.timeout)));
    };
    let Output { status, stderr, .. } = output.map_err(unavailable)?;
    match serde_json::from_slice::<Answer<T>>(&stderr) {
        Ok(answer) if status.success() => answer,
        _ => Err(death(limits, status, &String::from_utf8_lossy(&stderr))),
    }
}

/// Why a child died without an answer.
fn death(limits: &CompileLimits, status: ExitStatus, said: &str) -> LoadError {
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        Some(Signal::XCPU) => LoadError::CompileLimit(format!("{:?} of processor time", limits.timeout)),
        Some(Signal::ABORT | Signal::KILL | Signal::SEGV) => {
            LoadError::CompileLimit(format!("{} bytes of memory", limits.memory))
        }
        Some(Signal::XFSZ) => LoadError::TooComplex("its compiled code is larger than it may be".to_owned()),
        Some(Signal::SYS) => LoadError::Unavailable(
            "the compiler was ended by SIGSYS: it asked the kernel for what it has given up, see the kernel's log"
                .to_owned(),
        ),
        _ => LoadError::Unavailable(format!("the compiler ended with {status}: {}", said.trim())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unavailable(error: io::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot start the compiler: {error}"))
}

impl Came {
    fn of(compiled: &Result<Artifact, LoadError>) -> Self {
        match compiled {
            Ok(_) => Self::Compiled,
            Err(LoadError::CompileLimit(_)) => Self::OverLimit,
            Err(LoadError::Unavailable(_)) => Self::Unavailable,
            Err(_) => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_child_died_says_whose_fault_it_is() {
        let died = |signal: Signal| death(&CompileLimits::default(), ExitStatus::from_raw(signal.as_raw()), "");
        assert!(matches!(died(Signal::SYS), LoadError::Unavailable(why) if why.contains("SIGSYS")));
        assert!(matches!(died(Signal::XCPU), LoadError::CompileLimit(_)));
        assert!(matches!(died(Signal::ABORT), LoadError::CompileLimit(_)));
        assert!(matches!(died(Signal::XFSZ), LoadError::TooComplex(_)));
        assert!(matches!(died(Signal::HUP), LoadError::Unavailable(_)));
    }
}
