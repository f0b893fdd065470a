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
use capstan_core::feature::Features;
use capstan_core::metrics::StaticFamily;
use capstan_engine::handler::Kind;
use capstan_engine::tasks::Tasks;
use capstan_store::{Artifacts, LockFile, ProgramSummary, blocking};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OnceCell, Semaphore};

pub use self::child::confined_compiler;
pub(super) use self::protocol::{CompileRequest, CompileResponse, CompiledCode, ProgramInput, Step};
use super::LoadError;
use super::artifact::{Artifact, filled_memory_file, memory_file};
use super::compile_limits::CompileLimits;
use super::compiled_program::{CodeKey, CompiledProgram};
use super::config::Config;
use super::engines::{ProfileEngine, ProfileEngines};
use super::profile::Profile;
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
    pending: Mutex<HashMap<CodeKey, Weak<PendingArtifact>>>,
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

/// Which code of a program a load may return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The features that the program may use.
    pub(super) allowed: &'a Features,
    /// Whether the code counts fuel.
    pub(super) is_metered: bool,
    /// What initialises the program, if its snapshot is wanted.
    pub(super) snapshot: Option<&'a Initialiser>,
}

/// The code that concurrent loads of the same program wait for.
type PendingArtifact = OnceCell<CompiledProgram>;

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

    /// Returns the code of the program `wasm` or of its snapshot, either stored or compiled now. The program decides which of the `engines` runs it.
    /// The features in `program` are not used.
    ///
    /// Cancel-safe: if the future is dropped, another load that waits for the same code takes over.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) async fn artifact(
        &self,
        engines: &ProfileEngines,
        program: &ProgramSummary,
        wasm: &Bytes,
        wanted: Wanted<'_>,
    ) -> Result<CompiledProgram, LoadError> {
        let key = CodeKey { digest: program.digest.clone(), fingerprint: wanted.to_string() };
        let pending = self.pending(&key);
        let compiled = pending.get_or_try_init(|| async {
            if let Some(stored) = self.find_stored(engines, program, wanted).await {
                self.count(CompileResult::Stored);
                return Ok(stored);
            }
            let lock = self.lock(&key).await;
            // Another process may have compiled it until now.
            if lock.is_some()
                && let Some(stored) = self.find_stored(engines, program, wanted).await
            {
                self.count(CompileResult::Stored);
                return Ok(stored);
            }
            let compiled = match wanted.snapshot {
                Some(initialiser) => self.compile_snapshot(engines, program.kind, wasm, wanted, initialiser).await,
                None => self.compile(engines, program.kind, Step::Compile, wasm, None, wanted).await,
            };
            self.count(CompileResult::from_compiled(&compiled));
            let compiled = compiled?;
            self.store_code(
                &CodeKey::new(program, &compiled.engine, &Initialiser::suffix(wanted.snapshot)),
                &compiled.artifact,
            )
            .await;
            Ok(compiled)
        });
        compiled.await.cloned()
    }

    /// Returns the code `key` of a program of this kind, or of its snapshot, if it is stored. It is for `engine`.
    ///
    /// Cancel-safe, as [`Compiler::artifact`].
    pub(super) async fn stored(
        &self,
        engine: &Arc<ProfileEngine>,
        kind: Kind,
        key: &CodeKey,
    ) -> Option<CompiledProgram> {
        let pending = self.pending(key);
        let compiled = pending.get_or_try_init(|| async {
            let artifact = self.stored_artifact(key, kind).await.ok_or(())?;
            self.count(CompileResult::Stored);
            Ok::<_, ()>(CompiledProgram { engine: engine.clone(), artifact: Arc::new(artifact) })
        });
        compiled.await.ok().cloned()
    }

    /// Returns stored code of `program`, whose features are not known, if there is any that is `wanted`.
    async fn find_stored(
        &self,
        engines: &ProfileEngines,
        program: &ProgramSummary,
        wanted: Wanted<'_>,
    ) -> Option<CompiledProgram> {
        let (store, digest) = (self.store.clone()?, program.digest.clone());
        let suffix = Initialiser::suffix(wanted.snapshot);
        for fingerprint in blocking(move || store.fingerprints(&digest)).await {
            let profile = fingerprint.strip_suffix(&suffix).and_then(Profile::from_fingerprint);
            let Some(profile) = profile.filter(|profile| wanted.includes(profile)) else { continue };
            let Ok(engine) = engines.get_or_create(profile) else { continue };
            let key = CodeKey::new(program, &engine, &suffix);
            if key.fingerprint == fingerprint
                && let Some(artifact) = self.stored_artifact(&key, program.kind).await
            {
                return Some(CompiledProgram { engine, artifact: Arc::new(artifact) });
            }
        }
        None
    }

    /// Returns the cell that loads of `key` share.
    fn pending(&self, key: &CodeKey) -> Arc<PendingArtifact> {
        let mut pending = self.pending.lock().expect("no panic while the lock is held");
        pending.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = pending.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(PendingArtifact::new());
        pending.insert(key.clone(), Arc::downgrade(&cell));
        cell
    }

    async fn stored_artifact(&self, key: &CodeKey, kind: Kind) -> Option<Artifact> {
        let (store, CodeKey { digest, fingerprint }) = (self.store.clone()?, key.clone());
        blocking(move || Artifact::from_store(kind, |file| store.copy_to(&digest, &fingerprint, file))).await
    }

    /// Locks the code of `key` in a cache that several processes use. Without a lock, for example in a directory that is read-only, the program
    /// is compiled all the same. Cancel-safe.
    async fn lock(&self, key: &CodeKey) -> Option<LockFile> {
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
    async fn store_code(&self, key: &CodeKey, artifact: &Artifact) {
        let Some(store) = self.store.clone() else { return };
        let CodeKey { digest, fingerprint } = key.clone();
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
        engines: &ProfileEngines,
        kind: Kind,
        wasm: &[u8],
        wanted: Wanted<'_>,
        initialiser: &Initialiser,
    ) -> Result<CompiledProgram, LoadError> {
        let instrumented = self.compile(engines, kind, Step::Instrument, wasm, None, wanted).await?;
        let image = memory_file("image").map_err(child::cannot_start)?;
        let output = initialiser.run(&instrumented, image.try_clone().map_err(child::cannot_start)?).await?;
        if !output.is_empty() {
            tracing::info!(?output, "the initialisation of a snapshot has written output");
        }
        self.compile(engines, kind, Step::Embed { size: wasm.len() }, wasm, Some(image), wanted).await
    }

    /// Does `step` to `wasm`, followed by the content of `image`, and compiles the result for the engine that it needs, as soon as fewer than
    /// [`MAX_CHILDREN`] children are running.
    ///
    /// Cancel-safe: dropping the future kills the child.
    async fn compile(
        &self,
        engines: &ProfileEngines,
        kind: Kind,
        step: Step,
        wasm: &[u8],
        image: Option<File>,
        wanted: Wanted<'_>,
    ) -> Result<CompiledProgram, LoadError> {
        let _permit = self.children.acquire().await.expect("the semaphore is never closed");
        let _listed = self.tasks.track("sandbox", || format!("compiler of {} bytes", wasm.len()));
        let mut input = filled_memory_file("wasm", wasm).map_err(child::cannot_start)?;
        let mut size = wasm.len();
        if let Some(image) = image {
            size += append(&input, &image).map_err(child::cannot_start)?;
            input.rewind().map_err(child::cannot_start)?;
        }
        let code = memory_file("artifact").map_err(child::cannot_start)?;
        let (allowed, is_metered) = (wanted.allowed.clone(), wanted.is_metered);
        let program = Some(ProgramInput { kind, step, allowed, is_metered, max_memory: self.max_memory });
        let request = CompileRequest { budget: self.limits.budget_for(size), confine: self.confine, program };
        let output = code.try_clone().map_err(child::cannot_start)?;
        let CompiledCode { features, receipt } = child::run(&self.executable, &request, input, output).await?;
        let engine = engines.get_or_create(Profile { features, is_metered });
        let engine = engine.map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
        let artifact = Artifact::from_child(code, kind, &receipt, &engine.fingerprint)?;
        Ok(CompiledProgram { engine, artifact: Arc::new(artifact) })
    }
}

impl Wanted<'_> {
    /// Returns whether code of `profile` is wanted.
    fn includes(self, profile: &Profile) -> bool {
        profile.is_metered == self.is_metered && profile.features.is_subset(self.allowed)
    }
}

impl std::fmt::Display for Wanted<'_> {
    /// Writes what no fingerprint is.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { allowed, is_metered, .. } = self;
        write!(formatter, "at-most")?;
        allowed.iter().try_for_each(|feature| write!(formatter, "+{feature}"))?;
        if *is_metered {
            write!(formatter, "+fuel")?;
        }
        formatter.write_str(&Initialiser::suffix(self.snapshot))
    }
}

/// Appends the content of `image` to `file`, and returns its size.
fn append(mut file: &File, mut image: &File) -> io::Result<usize> {
    file.seek(io::SeekFrom::End(0))?;
    image.rewind()?;
    io::copy(&mut image, &mut file).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

impl CompileResult {
    fn from_compiled(compiled: &Result<CompiledProgram, LoadError>) -> Self {
        match compiled {
            Ok(_) => Self::Compiled,
            Err(LoadError::CompileLimit(_)) => Self::OverLimit,
            Err(LoadError::Unavailable(_)) => Self::Unavailable,
            Err(_) => Self::Rejected,
        }
    }
}
