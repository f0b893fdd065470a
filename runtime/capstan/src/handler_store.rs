//! `LocalHandlerStore`: the pushed handlers, which are stored in the data directory and survive a restart.
//!
//! A push compiles and links the program, then stores it, and then changes the registry. A push that fails changes nothing. At the start of
//! the daemon, only the names are restored: a stored handler loads its program at its first call, so a daemon with a thousand handlers is
//! ready as fast as one with none.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::feature::Features;
use capstan_core::manifest::{HistoryMode, Manifest, ManifestSchedule};
use capstan_core::outcome::Outcome;
use capstan_core::policy::{Diagnostic, PolicyRequest};
use capstan_core::rate::Rate;
use capstan_core::retry::RetryPolicy;
use capstan_engine::engine::Engine;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo, HandlerName};
use capstan_engine::handler_store::{HandlerStore, HandlerStoreError, StoreError};
use capstan_engine::registry::{Precondition, PutResult, RegistryError, ResolvedHandler, Source};
use capstan_engine::schedule::{ManifestSchedules, manifest_schedules};
use capstan_engine::scheduler::Scheduler;
use capstan_sandbox::{Metering, Sandbox};
use capstan_store::{Artifacts, HandlerRecord, ProgramSummary, Programs, blocking};
use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell};

/// The stored handlers of an engine. Clones share them.
#[derive(Clone, Debug)]
pub struct LocalHandlerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    sandbox: Sandbox,
    programs: Programs,
    /// Has the schedules of manifests. Set once.
    scheduler: OnceLock<Arc<Scheduler>>,
    /// Stored handlers whose records could not be read at the start.
    unreadable: OnceLock<BTreeSet<String>>,
    /// Locked from the check of a precondition until the registry has changed, which includes writing the files.
    change: Mutex<()>,
}

impl LocalHandlerStore {
    /// Creates a store that puts the handlers of `engine` into `programs`.
    pub fn new(engine: Engine, sandbox: Sandbox, programs: Programs) -> Self {
        let (scheduler, unreadable) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { engine, sandbox, programs, scheduler, unreadable, change: Mutex::new(()) }))
    }

    /// Sets the scheduler, and brings its schedules in line with the manifests. Call it once, after [`restore`](Self::restore) and before the
    /// gate opens. A failure of the store is logged: the next start or push does what is left.
    pub async fn reconcile_schedules(&self, scheduler: &Arc<Scheduler>) {
        let schedules = |handler: Arc<ResolvedHandler>| {
            let schedules = handler.handler().schedules();
            match manifest_schedules(handler.name(), schedules) {
                Ok(found) => Some((handler.name().clone(), found)).filter(|_| !schedules.is_empty()),
                Err(error) => {
                    tracing::warn!(handler = %handler.name(), "its schedules are not installed: {error}");
                    None
                }
            }
        };
        let manifests = self.0.engine.handlers().into_iter().filter_map(schedules).collect();
        let unreadable = self.0.unreadable.get_or_init(BTreeSet::new);
        if let Err(error) = scheduler.reconcile(manifests, unreadable).await {
            tracing::error!("cannot bring the schedules in line with the manifests of their handlers: {error}");
        }
        let _ = self.0.scheduler.set(scheduler.clone());
    }

    fn scheduler(&self) -> &Scheduler {
        self.0.scheduler.get().expect("it is set before the gate opens")
    }

    /// Returns the schedules of a manifest, which the operator must allow to run.
    fn allowed_schedules(
        &self,
        name: &HandlerName,
        manifest: &Manifest,
    ) -> Result<ManifestSchedules, HandlerStoreError> {
        let ceiling = self.0.engine.ceiling();
        for schedule in &manifest.schedule {
            ceiling.evaluate(name.as_str(), &manifest.policy, &schedule.policy).into_policy()?;
        }
        Ok(manifest_schedules(name, &manifest.schedule)?)
    }

    /// Returns the sandbox that runs the programs.
    pub fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    /// Registers all stored handlers. Returns their number. Call it once, before the gate opens. It blocks on the disk.
    ///
    /// # Errors
    /// [`HandlerStoreError::Store`] if the directory cannot be read. A damaged record is logged and skipped.
    pub fn restore(&self) -> Result<usize, HandlerStoreError> {
        let (mut restored, mut unreadable) = (Vec::new(), BTreeSet::new());
        for (name, record) in self.0.programs.load_all()? {
            match (HandlerName::new(&name), record) {
                // A later version may have a builtin of this name.
                (Ok(name), Ok(_)) if self.0.engine.resolve(name.as_str()).is_ok() => {
                    tracing::warn!(%name, "a stored handler is skipped, because a builtin has its name; push it under another name");
                }
                (Ok(name), Ok(record)) => {
                    let created = record.created;
                    restored.push((name, Program::new(self, record, None) as Arc<dyn Handler>, created));
                }
                (Err(error), _) => tracing::warn!(name, %error, "a stored handler is skipped"),
                (_, Err(error)) => {
                    tracing::warn!(name, %error, "a stored handler is skipped");
                    unreadable.insert(name);
                }
            }
        }
        let _ = self.0.unreadable.set(unreadable);
        let count = restored.len();
        self.0.engine.restore(restored)?;
        Ok(count)
    }

    /// Removes what interrupted pushes and removed handlers have left, among it their compiled code in `artifacts`. Handlers may be pushed, removed
    /// and run meanwhile. Shutdown waits for it, also if the future is dropped. Errors are logged: the next start tries again.
    pub async fn clean_up(&self, artifacts: Artifacts) {
        let programs = self.0.programs.clone();
        let clean_up = blocking(move || {
            programs.remove_leftovers()?;
            artifacts.retain_programs(|hex| programs.is_used(hex))
        });
        if let Err(error) = self.0.engine.run_to_completion(clean_up).await {
            tracing::warn!(%error, "cannot remove unused files");
        }
    }
}

#[async_trait]
impl HandlerStore for LocalHandlerStore {
    async fn push(
        &self,
        name: HandlerName,
        wasm: Bytes,
        manifest: Manifest,
        only_if: &Precondition,
    ) -> Result<(PutResult, Vec<Diagnostic>), HandlerStoreError> {
        self.0.engine.check_put(&name, only_if)?;
        let evaluation = self.0.engine.ceiling().evaluate(name.as_str(), &manifest.policy, &PolicyRequest::EMPTY);
        let findings = evaluation.findings.clone();
        let policy = evaluation.into_policy()?;
        let schedules = self.allowed_schedules(&name, &manifest)?;
        let metering = Metering::for_limit(policy.limits.fuel);
        let loaded = self.0.sandbox.load(wasm.clone(), with_features(&manifest, &policy.features), metering).await?;
        let record = Box::new(HandlerRecord { info: loaded.info(), manifest, created: Timestamp::now() });
        let (store, only_if) = (self.clone(), only_if.clone());
        // A task of its own: if the client disconnects, the file and the registry must still change together.
        let change = async move {
            let _change = store.0.change.lock().await;
            store.0.engine.check_put(&name, &only_if)?;
            let schedules = store.scheduler().change_manifest(&name, schedules).await?;
            let programs = store.0.programs.clone();
            let (stored_name, stored) = (name.clone(), record.clone());
            if let Err(error) = blocking(move || programs.put(stored_name.as_str(), &stored, &wasm)).await {
                schedules.undo().await;
                return Err(error.into());
            }
            let created = record.created;
            let program = Program::new(&store, record, Some((metering, loaded)));
            let put = store.0.engine.put(name, program, created, &only_if)?;
            schedules.finish().await?;
            Ok((put, findings))
        };
        self.0.engine.run_to_completion(change).await
    }

    async fn remove(&self, name: &str, only_if: &Precondition) -> Result<Arc<ResolvedHandler>, HandlerStoreError> {
        let (store, name, only_if) = (self.clone(), name.to_owned(), only_if.clone());
        let change = async move {
            let _change = store.0.change.lock().await;
            let engine = &store.0.engine;
            let resolved = engine.resolve(&name)?;
            if resolved.source() == Source::CatchAll {
                return Err(RegistryError::Unknown(name).into());
            }
            engine.check_put(resolved.name(), &only_if)?;
            let schedules = store.scheduler().change_manifest(resolved.name(), ManifestSchedules::new()).await?;
            let (programs, removed) = (store.0.programs.clone(), name.clone());
            if let Err(error) = blocking(move || programs.remove(&removed)).await {
                schedules.undo().await;
                return Err(error.into());
            }
            let removed = engine.remove(&name, &only_if)?;
            schedules.finish().await?;
            Ok(removed)
        };
        self.0.engine.run_to_completion(change).await
    }

    async fn wasm(&self, handler: &ResolvedHandler) -> Result<Option<Bytes>, StoreError> {
        let Some(digest) = handler.handler().info().digest else { return Ok(None) };
        let programs = self.0.programs.clone();
        blocking(move || programs.wasm(&digest)).await.map(Some)
    }
}

/// A handler that loads its program at the first call. At the first call with a limit on fuel, it loads the program a second time, with fuel
/// counting.
#[derive(Debug)]
struct Program {
    record: Box<HandlerRecord>,
    /// The policy of the manifest, with the features that the program uses.
    policy: PolicyRequest,
    sandbox: Sandbox,
    programs: Programs,
    unmetered: OnceCell<Arc<dyn Handler>>,
    metered: OnceCell<Arc<dyn Handler>>,
}

impl Program {
    fn new(
        store: &LocalHandlerStore,
        record: Box<HandlerRecord>,
        loaded: Option<(Metering, Arc<dyn Handler>)>,
    ) -> Arc<Self> {
        let (sandbox, programs) = (store.0.sandbox.clone(), store.0.programs.clone());
        let (unmetered, metered) = match loaded {
            None => (None, None),
            Some((Metering::Off, unmetered)) => (Some(unmetered), None),
            Some((Metering::On, metered)) => (None, Some(metered)),
        };
        let (unmetered, metered) = (OnceCell::new_with(unmetered), OnceCell::new_with(metered));
        let policy = PolicyRequest { features: Some(record.features().clone()), ..record.manifest.policy.clone() };
        Arc::new(Self { record, policy, sandbox, programs, unmetered, metered })
    }

    /// Returns the cell of the program that is compiled with this metering.
    fn cell(&self, metering: Metering) -> &OnceCell<Arc<dyn Handler>> {
        match metering {
            Metering::Off => &self.unmetered,
            Metering::On => &self.metered,
        }
    }

    /// Returns the program, and loads it if this is the first call.
    async fn loaded(&self, metering: Metering) -> Result<&Arc<dyn Handler>, HandlerStoreError> {
        let load = || async {
            let summary = self.record.program();
            let (programs, ProgramSummary { digest, size, .. }) = (self.programs.clone(), summary.clone());
            // Where the code is stored, the program is not read.
            blocking(move || programs.check_size(&digest, size)).await?;
            let manifest = with_features(&self.record.manifest, self.record.features());
            if let Some(loaded) = self.sandbox.load_stored(summary.clone(), manifest.clone(), metering).await? {
                return Ok(loaded);
            }
            let programs = self.programs.clone();
            let wasm = blocking(move || programs.wasm(&summary.digest)).await?;
            Ok(self.sandbox.load(wasm, manifest, metering).await?)
        };
        self.cell(metering).get_or_try_init(load).await
    }
}

impl Handler for Program {
    fn info(&self) -> HandlerInfo {
        self.record.info.clone()
    }

    fn policy_request(&self) -> &PolicyRequest {
        &self.policy
    }

    fn env(&self) -> Env {
        self.record.manifest.env.clone()
    }

    fn retry(&self) -> Option<&RetryPolicy> {
        self.record.manifest.retry.as_ref()
    }

    fn rate(&self) -> Option<Rate> {
        self.record.manifest.rate
    }

    fn schedules(&self) -> &[ManifestSchedule] {
        &self.record.manifest.schedule
    }

    fn history(&self) -> HistoryMode {
        self.record.manifest.history
    }

    fn run(self: Arc<Self>, call: Call) -> HandlerFuture {
        let metering = Metering::for_limit(call.limits.fuel);
        if let Some(loaded) = self.cell(metering).get() {
            return loaded.clone().run(call);
        }
        Box::pin(async move {
            let (stop, start) = (call.stop.clone(), Instant::now());
            let loaded = tokio::select! {
                loaded = self.loaded(metering) => loaded,
                outcome = stop.requested() => return outcome,
            };
            call.usage.load.add_time(start.elapsed());
            match loaded {
                Ok(loaded) => loaded.clone().run(call).await,
                Err(error) => Outcome::Refused { why: error.to_string() },
            }
        })
    }
}

/// Returns `manifest` for a program that may use `features`.
fn with_features(manifest: &Manifest, features: &Features) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.policy.features = Some(features.clone());
    manifest
}
