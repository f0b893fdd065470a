//! `LocalHandlerStore`: the pushed handlers, which are stored in the data directory and survive a restart.
//!
//! A push compiles and links the program, then stores it, and then changes the registry. A push that fails changes nothing. At the start of
//! the daemon, only the names are restored: a stored handler loads its program at its first call, so a daemon with a thousand handlers is
//! ready as fast as one with none.

mod base;
mod program;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::manifest::Manifest;
use capstan_core::policy::{Diagnostic, PolicyRequest};
use capstan_engine::engine::Engine;
use capstan_engine::handler::{Handler, HandlerName};
use capstan_engine::handler_store::{BaseError, FilesLimits, HandlerStore, HandlerStoreError, NewHandler, StoreError};
use capstan_engine::registry::{Precondition, PutResult, RegistryError, ResolvedHandler, Source};
use capstan_engine::routes::RoutesError;
use capstan_engine::schedule::{ManifestSchedules, manifest_schedules};
use capstan_engine::scheduler::Scheduler;
use capstan_sandbox::{Metering, Sandbox};
use capstan_store::{Artifacts, FilesLease, HandlerFiles, HandlerRecord, Programs, Unpacked, blocking};
use jiff::Timestamp;
use tokio::sync::Mutex;

use self::base::Base;
use self::program::{Program, load_stored, with_features};

/// The stored handlers of an engine. Clones share them.
#[derive(Clone, Debug)]
pub struct LocalHandlerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    sandbox: Sandbox,
    programs: Programs,
    files: HandlerFiles,
    files_limits: FilesLimits,
    /// Has the schedules of manifests. Set once.
    scheduler: OnceLock<Arc<Scheduler>>,
    /// Stored handlers whose records could not be read at the start.
    unreadable: OnceLock<BTreeSet<String>>,
    /// Locked from the check of a precondition until the registry has changed, which includes writing the files.
    change: Mutex<()>,
}

impl LocalHandlerStore {
    /// Creates a store that puts the handlers of `engine` into `programs`, and their files into `files`.
    pub fn new(
        engine: Engine,
        sandbox: Sandbox,
        programs: Programs,
        files: HandlerFiles,
        files_limits: FilesLimits,
    ) -> Self {
        let (scheduler, unreadable) = (OnceLock::new(), OnceLock::new());
        let change = Mutex::new(());
        Self(Arc::new(Inner { engine, sandbox, programs, files, files_limits, scheduler, unreadable, change }))
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
                    restored.push((name, self.stored_handler(record), created));
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
        let (programs, files) = (self.0.programs.clone(), self.0.files.clone());
        let clean_up = blocking(move || {
            programs.remove_leftovers()?;
            files.remove_leftovers()?;
            files.remove_unused(|hex| programs.uses_files(hex))?;
            artifacts.retain_programs(|hex| programs.is_used(hex))
        });
        if let Err(error) = self.0.engine.run_to_completion(clean_up).await {
            tracing::warn!(%error, "cannot remove unused files");
        }
    }

    /// Removes the files of replaced and removed handlers as soon as no job can find them any more. Never returns. Cancel-safe: shutdown
    /// waits for a removal that has begun. Errors are logged: the next start tries again.
    pub async fn collect_files(&self) {
        loop {
            self.0.files.lease_ended().await;
            let (programs, files) = (self.0.programs.clone(), self.0.files.clone());
            let collect = blocking(move || files.remove_unused(|hex| programs.uses_files(hex)));
            if let Err(error) = self.0.engine.run_to_completion(collect).await {
                tracing::warn!(%error, "cannot remove unused files of handlers");
            }
        }
    }

    /// Returns the handler of a stored record. Its program is not loaded yet, but its files are open, so that they stay for its jobs.
    fn stored_handler(&self, record: Box<HandlerRecord>) -> Arc<dyn Handler> {
        let files = record.info.files.as_ref().and_then(|files| {
            let opened = self.0.files.open_files(&files.digest);
            opened.inspect_err(|error| tracing::warn!(%error, "a handler will refuse its jobs")).ok()
        });
        Program::new(self.0.sandbox.clone(), self.0.programs.clone(), record, files, None)
    }

    /// Unpacks the files of a push.
    async fn unpack(&self, archive: std::fs::File) -> Result<(Unpacked, FilesLease), HandlerStoreError> {
        let (files, limits) = (self.0.files.clone(), self.0.files_limits);
        Ok(blocking(move || files.unpack(std::io::BufReader::new(archive), limits)).await?)
    }
}

#[async_trait]
impl HandlerStore for LocalHandlerStore {
    async fn push(
        &self,
        new: NewHandler,
        only_if: &Precondition,
    ) -> Result<(PutResult, Vec<Diagnostic>), HandlerStoreError> {
        let NewHandler { name, wasm, files, mut manifest } = new;
        self.0.engine.check_put(&name, only_if)?;
        let base = match (&manifest.program.from, &wasm) {
            (None, None) => return Err(BaseError::NoProgram.into()),
            (None, Some(_)) => None,
            (Some(from), Some(_)) => return Err(BaseError::ProgramAndBase(from.clone()).into()),
            (Some(from), None) => Some(Base::resolve(&self.0.engine, &name, from)?),
        };
        let (unpacked, lease) = match files {
            None => (None, None),
            Some(archive) => self.unpack(archive).await.map(|(unpacked, lease)| (Some(unpacked), Some(lease)))?,
        };
        if let Some(base) = &base {
            base.complete(&mut manifest, unpacked.as_ref())?;
        }
        let file_route = manifest.route.iter().find(|route| route.files.is_some());
        if let (Some(route), None) = (file_route, &unpacked) {
            return Err(RegistryError::from(RoutesError::NoFiles(route.path.clone())).into());
        }
        self.0.engine.check_routes(&name, &manifest.route)?;
        let evaluation = self.0.engine.ceiling().evaluate(name.as_str(), &manifest.policy, &PolicyRequest::EMPTY);
        let findings = evaluation.findings.clone();
        let policy = evaluation.into_policy()?;
        let schedules = self.allowed_schedules(&name, &manifest)?;
        let metering = Metering::for_limit(policy.limits.fuel);
        let Inner { sandbox, programs, .. } = &*self.0;
        let may_use = with_features(&manifest, &policy.features);
        let loaded = match (&wasm, &base) {
            (Some(wasm), _) => sandbox.load(wasm.clone(), may_use, metering).await?,
            (None, Some(base)) => load_stored(sandbox, programs, base.program.clone(), &may_use, metering).await?,
            (None, None) => return Err(BaseError::NoProgram.into()),
        };
        let mut info = loaded.info();
        info.files = unpacked.map(|unpacked| unpacked.info().clone());
        let from = base.as_ref().map(|base| base.info.name.clone());
        info.base = base.map(|base| base.info);
        let record = Box::new(HandlerRecord { info, manifest, created: Timestamp::now() });
        let (store, only_if) = (self.clone(), only_if.clone());
        // A task of its own: if the client disconnects, the file and the registry must still change together.
        let change = async move {
            let _change = store.0.change.lock().await;
            store.0.engine.check_put(&name, &only_if)?;
            store.0.engine.check_routes(&name, &record.manifest.route)?;
            let schedules = store.scheduler().change_manifest(&name, schedules).await?;
            let programs = store.0.programs.clone();
            let (stored_name, stored) = (name.clone(), record.clone());
            let put = blocking(move || programs.put(stored_name.as_str(), &stored, wasm.as_deref())).await;
            if let Err(error) = put {
                schedules.undo().await;
                return Err(match (error, from) {
                    // The last handler with the program was removed meanwhile.
                    (StoreError::Damaged(_), Some(from)) => BaseError::Unknown(from).into(),
                    (error, _) => error.into(),
                });
            }
            let created = record.created;
            let (sandbox, programs) = (store.0.sandbox.clone(), store.0.programs.clone());
            let program = Program::new(sandbox, programs, record, lease, Some((metering, loaded)));
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
