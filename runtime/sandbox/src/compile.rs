//! [`Compiler`]: compiles programs in a child process that can be killed, because one small upload can make a compiler use minutes and
//! gigabytes.

mod child;
mod protocol;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use capstan_confinement::Mode;
use capstan_core::metrics::StaticFamily;
use capstan_engine::handler::Kind;
use capstan_engine::tasks::Tasks;
use capstan_store::{Artifacts, LockFile, ProgramSummary, blocking};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OnceCell, Semaphore};

pub use self::child::confined_compiler;
pub(super) use self::protocol::{CompileRequest, CompileResponse, ProgramInput, Step};
use super::LoadError;
use super::artifact::{Artifact, Receipt, filled_memory_file, memory_file};
use super::compile_limits::CompileLimits;
use super::config::Config;
use super::engines::ProfileEngine;
use super::snapshot::Initialiser;

/// How many children may compile at a time. Each uses one processor, and memory up to its limit.
const MAX_CHILDREN: usize = 2;

/// How often a load asks for the lock of a program that another process compiles.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the artifacts of programs, from the artifact store or from a compiling child.
#[derive(Debug)]
pub(super) struct Compiler {
    tasks: Tasks,
    executable: PathBuf,
    limits: CompileLimits,
    confine: Mode,
    /// Bytes of the most memory that a run may have.
    max_memory: u64,
    children: Semaphore,
    /// `None` if compiled code is not stored.
    store: Option<Artifacts>,
    pending: Mutex<HashMap<Key, Weak<PendingArtifact>>>,
    results: StaticFamily<1, Counter>,
}

/// How a load got its artifact. Loads that wait for another one do not count. The discriminant is the index in [`RESULT_LABELS`].
#[derive(Clone, Copy, Debug)]
enum CompileResult {
    Stored,
    Compiled,
    Rejected,
    OverLimit,
    Unavailable,
}

const RESULT_LABELS: [&str; 5] = ["kept", "compiled", "refused", "over_limit", "unavailable"];

/// Statistics of the compiler.
#[derive(Debug)]
pub struct CompileStats {
    /// How many children are compiling now.
    pub running: usize,
    /// How many loads had which result.
    pub results: StaticFamily<1, Counter>,
}

/// Identifies the code of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The digest of the program.
    digest: String,
    /// The fingerprint of the engine that runs the code, with that of the settings of a snapshot.
    fingerprint: String,
}

/// The artifact that concurrent loads of the same program wait for.
type PendingArtifact = OnceCell<Arc<Artifact>>;

impl Compiler {
    /// Creates the compiler. Removes stored code of the default profile whose fingerprint is not `fingerprint`.
    pub(super) fn new(fingerprint: &str, config: Config) -> Self {
        if let Some(Err(error)) = config.artifacts.as_ref().map(|store| store.retain(fingerprint)) {
            tracing::warn!(%error, "cannot remove outdated compiled code");
        }
        Self {
            tasks: config.tasks,
            executable: config.compiler,
            limits: config.compile,
            confine: config.confine,
            max_memory: config.ceiling.memory,
            children: Semaphore::new(MAX_CHILDREN),
            store: config.artifacts,
            pending: Mutex::default(),
            results: StaticFamily::new(RESULT_LABELS.map(|result| [("result", result)])),
        }
    }

    /// Returns the statistics so far.
    pub(super) fn stats(&self) -> CompileStats {
        CompileStats { running: MAX_CHILDREN - self.children.available_permits(), results: self.results.clone() }
    }

    /// Returns the most memory that a run may have, in bytes.
    pub(super) fn max_memory(&self) -> u64 {
        self.max_memory
    }

    fn count(&self, result: CompileResult) {
        self.results.at(result as usize).inc();
    }

    /// Returns the artifact of the program `wasm` for `engine`, either stored or compiled now. With `snapshot`, it is that of its snapshot.
    ///
    /// Cancel-safe: if the future is dropped, another load that waits for the same artifact takes over.
    pub(super) async fn artifact(
        &self,
        engine: &Arc<ProfileEngine>,
        program: &ProgramSummary,
        wasm: &Bytes,
        snapshot: Option<&Initialiser>,
    ) -> Result<Arc<Artifact>, LoadError> {
        let (kind, key) = (program.kind, Key::new(program, engine, snapshot));
        let pending = self.pending(&key);
        let artifact = pending.get_or_try_init(|| async {
            if let Some(artifact) = self.stored_artifact(&key, kind).await {
                self.count(CompileResult::Stored);
                return Ok(Arc::new(artifact));
            }
            let lock = self.lock(&key).await;
            // Another process may have compiled it until now.
            if lock.is_some()
                && let Some(artifact) = self.stored_artifact(&key, kind).await
            {
                self.count(CompileResult::Stored);
                return Ok(Arc::new(artifact));
            }
            let compiled = match snapshot {
                Some(initialiser) => self.compile_snapshot(engine, kind, wasm, initialiser).await,
                None => self.compile(engine, kind, Step::Compile, wasm, None).await,
            };
            self.count(CompileResult::from_compiled(&compiled));
            let artifact = compiled?;
            self.store_code(&key, &artifact).await;
            Ok(Arc::new(artifact))
        });
        artifact.await.cloned()
    }

    /// Returns the artifact of `program` for `engine`, or that of its snapshot, if it is stored.
    ///
    /// Cancel-safe, as [`Compiler::artifact`].
    pub(super) async fn stored(
        &self,
        engine: &ProfileEngine,
        program: &ProgramSummary,
        snapshot: Option<&Initialiser>,
    ) -> Option<Arc<Artifact>> {
        let key = Key::new(program, engine, snapshot);
        let pending = self.pending(&key);
        let artifact = pending.get_or_try_init(|| async {
            let artifact = self.stored_artifact(&key, program.kind).await.ok_or(())?;
            self.count(CompileResult::Stored);
            Ok::<_, ()>(Arc::new(artifact))
        });
        artifact.await.ok().cloned()
    }

    /// Returns the cell that loads of `key` share.
    fn pending(&self, key: &Key) -> Arc<PendingArtifact> {
        let mut pending = self.pending.lock().expect("no panic while the lock is held");
        pending.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = pending.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(PendingArtifact::new());
        pending.insert(key.clone(), Arc::downgrade(&cell));
        cell
    }

    async fn stored_artifact(&self, key: &Key, kind: Kind) -> Option<Artifact> {
        let (store, Key { digest, fingerprint }) = (self.store.clone()?, key.clone());
        blocking(move || Artifact::from_store(kind, |file| store.copy_to(&digest, &fingerprint, file))).await
    }

    /// Locks the code of `key` in a cache that several processes use. Without a lock, for example in a directory that is read-only, the program
    /// is compiled all the same. Cancel-safe.
    async fn lock(&self, key: &Key) -> Option<LockFile> {
        let store = self.store.as_ref().filter(|store| store.is_cache())?;
        loop {
            match store.try_lock(&key.digest, &key.fingerprint) {
                Ok(None) => tokio::time::sleep(LOCK_INTERVAL).await,
                Ok(lock) => return lock,
                Err(error) => {
                    tracing::debug!(%error, "cannot lock compiled code");
                    return None;
                }
            }
        }
    }

    /// Stores compiled code. If this fails, for example on a full disk, the load succeeds all the same, and the next start compiles again.
    async fn store_code(&self, key: &Key, artifact: &Artifact) {
        let Some(store) = self.store.clone() else { return };
        let Key { digest, fingerprint } = key.clone();
        let code = artifact.code();
        let stored = blocking(move || {
            let code = code?;
            // Outdated code of profiles other than the default is not removed at startup, so this is the time.
            Ok::<_, io::Error>(store.put(&digest, &fingerprint, &code).and_then(|()| store.retain(&fingerprint)))
        });
        match stored.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot store compiled code; the next start compiles it again"),
            Err(error) => tracing::warn!(%error, "cannot store compiled code; the next start compiles it again"),
        }
    }

    /// Takes a snapshot of `wasm` and compiles it, as [`Compiler::compile`] does. Cancel-safe.
    async fn compile_snapshot(
        &self,
        engine: &Arc<ProfileEngine>,
        kind: Kind,
        wasm: &[u8],
        initialiser: &Initialiser,
    ) -> Result<Artifact, LoadError> {
        let instrumented = self.compile(engine, kind, Step::Instrument, wasm, None).await?;
        let image = memory_file("image").map_err(child::cannot_start)?;
        let output = initialiser.run(engine, &instrumented, image.try_clone().map_err(child::cannot_start)?).await?;
        if !output.is_empty() {
            tracing::info!(?output, "the initialisation of a snapshot has written output");
        }
        self.compile(engine, kind, Step::Embed { size: wasm.len() }, wasm, Some(image)).await
    }

    /// Does `step` to `wasm`, followed by the content of `image`, and compiles the result for `engine`, as soon as fewer than [`MAX_CHILDREN`] children are running.
    ///
    /// Cancel-safe: dropping the future kills the child.
    async fn compile(
        &self,
        engine: &ProfileEngine,
        kind: Kind,
        step: Step,
        wasm: &[u8],
        image: Option<File>,
    ) -> Result<Artifact, LoadError> {
        let _permit = self.children.acquire().await.expect("the semaphore is never closed");
        let _listed = self.tasks.track("sandbox", || format!("compiler of {} bytes", wasm.len()));
        let mut input = filled_memory_file("wasm", wasm).map_err(child::cannot_start)?;
        let mut size = wasm.len();
        if let Some(image) = image {
            size += append(&input, &image).map_err(child::cannot_start)?;
            input.rewind().map_err(child::cannot_start)?;
        }
        let code = memory_file("artifact").map_err(child::cannot_start)?;
        let program = Some(ProgramInput {
            kind,
            step,
            profile: engine.profile.clone(),
            // The slots of the default profile have this size. Any other program gets what its run may have.
            max_memory: engine.profile.is_default().then_some(self.max_memory),
        });
        let request = CompileRequest { budget: self.limits.budget_for(size), confine: self.confine, program };
        let output = code.try_clone().map_err(child::cannot_start)?;
        let receipt: Receipt = child::run(&self.executable, &request, input, output).await?;
        Artifact::from_child(code, kind, &receipt, &engine.fingerprint)
    }
}

impl Key {
    fn new(program: &ProgramSummary, engine: &ProfileEngine, snapshot: Option<&Initialiser>) -> Self {
        let fingerprint = match snapshot {
            Some(initialiser) => initialiser.fingerprint(&engine.fingerprint),
            None => engine.fingerprint.clone(),
        };
        Self { digest: program.digest.clone(), fingerprint }
    }
}

/// Appends the content of `image` to `file`, and returns its size.
fn append(mut file: &File, mut image: &File) -> io::Result<usize> {
    file.seek(io::SeekFrom::End(0))?;
    image.rewind()?;
    io::copy(&mut image, &mut file).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

impl CompileResult {
    fn from_compiled(compiled: &Result<Artifact, LoadError>) -> Self {
        match compiled {
            Ok(_) => Self::Compiled,
            Err(LoadError::CompileLimit(_)) => Self::OverLimit,
            Err(LoadError::Unavailable(_)) => Self::Unavailable,
            Err(_) => Self::Rejected,
        }
    }
}
