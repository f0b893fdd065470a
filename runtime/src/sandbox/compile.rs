//! Compiling in a child that can be killed: one small upload can take the compiler minutes and gigabytes.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, Semaphore};

use super::artifact::{Artifact, Receipt, filled, memory_file};
use super::machine::Machine;
use super::profile::Profile;
use super::{Config, LoadError};
use crate::handler::Kind;
use crate::metrics::Labelled;
use crate::store::{Artifacts, blocking};
use crate::tasks::Tasks;

/// Children at a time; each takes a processor and up to its limit of memory.
const CHILDREN: usize = 2;

/// Wall clock that a child may take for each second of its processor time: it has the lowest priority, and that a machine is busy is no
/// fault of the program. All that this ends is a child that was stopped.
const WAIT: u32 = 200;

/// How long a child has before all others are preferred to it. Most programs are compiled by then, on a busy machine too.
const BEFORE_LAST: Duration = Duration::from_secs(5);
/// The priority that it has from then on, which is that of guests.
const LAST: i32 = 19;

/// The status of a child that has panicked.
const PANICKED: i32 = 101;

/// What compiling a program may take, by its size: real ones need more the larger they are, and a small one that needs much is a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time for each MiB of the program that is begun. Default 5 s; 1 MiB of Go takes 1 s where debug builds compile it.
    pub timeout: Duration,
    /// Bytes of address space for a program of 1 MiB; each further MiB adds a sixteenth of it. Default 512 MiB; 3 MiB of Go take 145 MiB,
    /// and a Python component of 18 MB takes 448 MiB.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), memory: 512 << 20 }
    }
}

impl CompileLimits {
    /// What a program of `size` bytes may take.
    fn of(self, size: usize) -> Budget {
        let mebibytes = u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX).max(1);
        let time = self.timeout.saturating_mul(mebibytes);
        Budget {
            cpu: time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)),
            memory: self.memory.saturating_add((self.memory / 16).saturating_mul(u64::from(mebibytes - 1))),
        }
    }
}

/// What compiling one program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budget {
    /// Seconds of processor time, the unit of the kernel's limit.
    pub(super) cpu: u64,
    /// Bytes of address space.
    pub(super) memory: u64,
}

impl Budget {
    /// That the memory was not enough.
    pub(super) fn no_memory(self) -> LoadError {
        LoadError::CompileLimit(format!("{} bytes of memory", self.memory))
    }

    fn wall_clock(self) -> Duration {
        Duration::from_secs(self.cpu).saturating_mul(WAIT)
    }
}

/// What the daemon tells the child, as its one argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) budget: Budget,
    pub(super) profile: Profile,
}

/// What the child answers on its stderr; the code itself goes to its stdout.
pub(super) type Answer = Result<Receipt, LoadError>;

#[derive(Debug)]
pub(super) struct Compiler {
    tasks: Tasks,
    program: PathBuf,
    limits: CompileLimits,
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
        let unavailable = |error: io::Error| LoadError::Unavailable(format!("cannot start the compiler: {error}"));
        let _note = self.tasks.note("sandbox", || format!("compiler of {} bytes", wasm.len()));
        let input = filled("wasm", wasm).map_err(unavailable)?;
        let code = memory_file("artifact").map_err(unavailable)?;
        let budget = self.limits.of(wasm.len());
        let order =
            serde_json::to_string(&Order { kind, budget, profile: machine.profile.clone() }).expect("plain data");
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
        let Ok(output) = tokio::time::timeout(budget.wall_clock(), end(child)).await else {
            return Err(LoadError::Unavailable(format!("the compiler did not end within {:?}", budget.wall_clock())));
        };
        let receipt = answer(&output.map_err(unavailable)?, budget)?;
        Artifact::compiled(code, kind, &receipt, &machine.fingerprint)
    }
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

fn answer(output: &Output, budget: Budget) -> Answer {
    match serde_json::from_slice::<Answer>(&output.stderr) {
        Ok(answer) if output.status.success() => answer,
        _ => Err(death(output.status, &String::from_utf8_lossy(&output.stderr), budget)),
    }
}

/// Why a child died without an answer. None of its own limits kills it outright: who did was the operator, or a machine without memory.
fn death(status: ExitStatus, said: &str, budget: Budget) -> LoadError {
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => LoadError::CompileLimit(format!("{} s of processor time", budget.cpu)),
        Some(Signal::ABORT | Signal::SEGV) => budget.no_memory(),
        Some(Signal::XFSZ) => LoadError::TooComplex("its compiled code is larger than it may be".to_owned()),
        // Where the compiler finds no memory it aborts or panics, as the place has it. What else it panics at, it would each time.
        None if status.code() == Some(PANICKED) && said.contains("out-of-memory") => budget.no_memory(),
        None if status.code() == Some(PANICKED) => {
            tracing::warn!(said = ?said.trim(), "the compiler panicked");
            LoadError::TooComplex("the compiler fails on it".to_owned())
        }
        _ => LoadError::Unavailable(format!("the compiler ended with {status}: {}", said.trim())),
    }
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
    fn a_larger_program_may_take_more() {
        let limits = CompileLimits::default();
        let of = |size| (limits.of(size).cpu, limits.of(size).memory >> 20);
        for (size, expected) in [
            (0, (5, 512)),
            (1 << 20, (5, 512)),
            ((1 << 20) + 1, (10, 544)),
            (3_182_400, (20, 608)),
            (18 << 20, (90, 1056)),
            (64 << 20, (320, 2528)),
        ] {
            assert_eq!(of(size), expected, "{size} bytes");
        }
        let limits = CompileLimits { timeout: Duration::MAX, memory: u64::MAX };
        assert_eq!(limits.of(usize::MAX), Budget { cpu: u64::MAX, memory: u64::MAX });
        assert_eq!(CompileLimits { timeout: Duration::from_millis(1), memory: 1 }.of(1), Budget { cpu: 1, memory: 1 });
    }

    #[test]
    fn the_end_of_a_child_tells_whose_fault_it_was() {
        let budget = Budget { cpu: 5, memory: 512 };
        let killed = |signal: Signal| death(ExitStatus::from_raw(signal.as_raw()), "", budget);
        assert_eq!(killed(Signal::XCPU), LoadError::CompileLimit("5 s of processor time".to_owned()));
        assert_eq!(killed(Signal::ABORT), LoadError::CompileLimit("512 bytes of memory".to_owned()));
        assert!(matches!(killed(Signal::XFSZ), LoadError::TooComplex(_)));
        for outside in [Signal::KILL, Signal::TERM] {
            assert!(matches!(killed(outside), LoadError::Unavailable(_)), "{outside:?}");
        }
        let exited = |code: i32, said: &str| death(ExitStatus::from_raw(code << 8), said, budget);
        let no_memory = "thread 'main' panicked at set.rs:\nunhandled out-of-memory error: out of memory";
        assert_eq!(exited(PANICKED, no_memory), killed(Signal::ABORT));
        assert!(matches!(exited(PANICKED, "thread 'main' panicked at x.rs"), LoadError::TooComplex(_)));
        assert!(matches!(exited(1, "cannot set limits"), LoadError::Unavailable(_)));
    }
}
