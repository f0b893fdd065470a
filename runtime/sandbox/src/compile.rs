//! Compiling in a child that can be killed: one small upload can take the compiler minutes and gigabytes.

mod budget;
mod child;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use capstan_confinement::Mode;
use capstan_core::metrics::StaticFamily;
use capstan_engine::handler::Kind;
use capstan_engine::tasks::Tasks;
use capstan_store::{Artifacts, blocking};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OnceCell, Semaphore};

pub(super) use self::budget::Budget;
pub use self::budget::CompileLimits;
pub use self::child::confined_compiler;
pub(super) use self::child::{Answer, Order, Ordered};
use super::artifact::{Artifact, Receipt, filled, memory_file};
use super::engines::Machine;
use super::{Config, LoadError};

/// Children at a time; each takes a processor and up to its limit of memory.
const CHILDREN: usize = 2;

#[derive(Debug)]
pub(super) struct Compiler {
    tasks: Tasks,
    program: PathBuf,
    limits: CompileLimits,
    confine: Mode,
    children: Semaphore,
    kept: Option<Artifacts>,
    going: Mutex<HashMap<Key, Weak<Going>>>,
    results: StaticFamily<1, Counter>,
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
pub struct Compiles {
    /// Children that compile now.
    pub going: usize,
    /// What came of programs that were asked for.
    pub results: StaticFamily<1, Counter>,
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
            results: StaticFamily::new(RESULTS.map(|result| [("result", result)])),
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
        let _note = self.tasks.track("sandbox", || format!("compiler of {} bytes", wasm.len()));
        let input = filled("wasm", wasm).map_err(child::unavailable)?;
        let code = memory_file("artifact").map_err(child::unavailable)?;
        let program = Some(Ordered { kind, profile: machine.profile.clone() });
        let order = Order { budget: self.limits.of(wasm.len()), confine: self.confine, program };
        let output = code.try_clone().map_err(child::unavailable)?;
        let receipt: Receipt = child::answer(&self.program, &order, input, output).await?;
        Artifact::compiled(code, kind, &receipt, &machine.fingerprint)
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
