//! The handlers that are kept: pushed, stored, and there again after a restart.
//!
//! A push compiles and links first, then stores, then changes the registry; whoever fails on the way changes nothing. At start the names
//! come back without their code: a kept handler loads its program when it is first called, so that a daemon with a thousand of them is
//! ready as soon as one with none.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::manifest::Manifest;
use capstan_core::outcome::Outcome;
use capstan_core::policy::{Diagnostic, PolicyRequest};
use capstan_engine::engine::Engine;
use capstan_engine::handler::HandlerName;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo};
use capstan_engine::handler_store::{HandlerStore, HandlerStoreError, StoreError};
use capstan_engine::registry::{Precondition, PutResult, RegistryError, ResolvedHandler, Source};
use capstan_sandbox::{Metering, Sandbox};
use capstan_store::{Artifacts, HandlerRecord, Programs, blocking};
use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell};

/// The kept handlers of an engine; clones are the same.
#[derive(Clone, Debug)]
pub struct LocalHandlerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    sandbox: Sandbox,
    programs: Programs,
    /// Held from the check of a precondition to the change of the registry, over the writing of files.
    naming: Mutex<()>,
}

impl LocalHandlerStore {
    /// Keeps handlers of `engine` in `programs`.
    pub fn new(engine: Engine, sandbox: Sandbox, programs: Programs) -> Self {
        Self(Arc::new(Inner { engine, sandbox, programs, naming: Mutex::new(()) }))
    }

    /// Where their programs run.
    pub fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    /// Registers every handler that was kept and clears `artifacts` of all other code; returns how many. Called once, before the gate opens. Blocks on the disk.
    ///
    /// # Errors
    /// [`HandlerStoreError::Store`] where the folder cannot be read. A single damaged record is logged and left out.
    pub fn restore(&self, artifacts: &Artifacts) -> Result<usize, HandlerStoreError> {
        let (mut restored, mut digests) = (Vec::new(), HashSet::new());
        for (name, record) in self.0.programs.load_all()? {
            match (HandlerName::new(&name), record) {
                (Ok(name), Ok(record)) => {
                    let created = record.created;
                    digests.extend(record.info.digest.clone());
                    restored.push((name, Program::new(self, record, None) as Arc<dyn Handler>, created));
                }
                (Err(error), _) => tracing::warn!(name, %error, "a kept handler is left out"),
                (_, Err(error)) => tracing::warn!(name, %error, "a kept handler is left out"),
            }
        }
        let count = restored.len();
        artifacts.retain_programs(&digests)?;
        self.0.engine.restore(restored)?;
        Ok(count)
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
        let metering = Metering::for_limit(policy.limits.fuel);
        let loaded = self.0.sandbox.load(wasm.clone(), manifest.clone(), metering).await?;
        let record = HandlerRecord { info: loaded.info(), manifest, created: Timestamp::now() };
        let (kept, only_if) = (self.clone(), only_if.clone());
        // A task of its own: a client that leaves between the file and the registry must not part them.
        let change = async move {
            let _naming = kept.0.naming.lock().await;
            kept.0.engine.check_put(&name, &only_if)?;
            let programs = kept.0.programs.clone();
            let (stored_name, stored) = (name.clone(), record.clone());
            blocking(move || programs.put(stored_name.as_str(), &stored, &wasm)).await?;
            let created = record.created;
            let program = Program::new(&kept, record, Some((metering, loaded)));
            Ok((kept.0.engine.put(name, program, created, &only_if)?, findings))
        };
        self.0.engine.run_to_completion(change).await
    }

    async fn remove(&self, name: &str, only_if: &Precondition) -> Result<Arc<ResolvedHandler>, HandlerStoreError> {
        let (kept, name, only_if) = (self.clone(), name.to_owned(), only_if.clone());
        let change = async move {
            let _naming = kept.0.naming.lock().await;
            let engine = &kept.0.engine;
            let resolved = engine.resolve(&name)?;
            if resolved.source() == Source::CatchAll {
                return Err(RegistryError::Unknown(name).into());
            }
            engine.check_put(resolved.name(), &only_if)?;
            let (programs, forgotten) = (kept.0.programs.clone(), name.clone());
            blocking(move || programs.remove(&forgotten)).await?;
            Ok(engine.remove(&name, &only_if)?)
        };
        self.0.engine.run_to_completion(change).await
    }

    async fn wasm(&self, handler: &ResolvedHandler) -> Result<Option<Bytes>, StoreError> {
        let Some(digest) = handler.handler().info().digest else { return Ok(None) };
        let programs = self.0.programs.clone();
        blocking(move || programs.wasm(&digest)).await.map(Some)
    }
}

/// A handler whose program is loaded when it is first called; once more, with its fuel counted, when it is first called with a limit on
/// that.
#[derive(Debug)]
struct Program {
    record: HandlerRecord,
    sandbox: Sandbox,
    programs: Programs,
    plain: OnceCell<Arc<dyn Handler>>,
    metered: OnceCell<Arc<dyn Handler>>,
}

impl Program {
    fn new(kept: &LocalHandlerStore, record: HandlerRecord, loaded: Option<(Metering, Arc<dyn Handler>)>) -> Arc<Self> {
        let (sandbox, programs) = (kept.0.sandbox.clone(), kept.0.programs.clone());
        let (plain, metered) = match loaded {
            None => (None, None),
            Some((Metering::Off, plain)) => (Some(plain), None),
            Some((Metering::On, metered)) => (None, Some(metered)),
        };
        let (plain, metered) = (OnceCell::new_with(plain), OnceCell::new_with(metered));
        Arc::new(Self { record, sandbox, programs, plain, metered })
    }

    fn cell(&self, metering: Metering) -> &OnceCell<Arc<dyn Handler>> {
        match metering {
            Metering::Off => &self.plain,
            Metering::On => &self.metered,
        }
    }

    async fn loaded(&self, metering: Metering) -> Result<&Arc<dyn Handler>, HandlerStoreError> {
        let load = || async {
            let digest = self.record.info.digest.clone().unwrap_or_default();
            let programs = self.programs.clone();
            let wasm = blocking(move || programs.wasm(&digest)).await?;
            Ok(self.sandbox.load(wasm, self.record.manifest.clone(), metering).await?)
        };
        self.cell(metering).get_or_try_init(load).await
    }
}

impl Handler for Program {
    fn info(&self) -> HandlerInfo {
        self.record.info.clone()
    }

    fn policy_request(&self) -> &PolicyRequest {
        &self.record.manifest.policy
    }

    fn env(&self) -> Env {
        self.record.manifest.env.clone()
    }

    fn run(self: Arc<Self>, call: Call) -> HandlerFuture {
        let metering = Metering::for_limit(call.limits.fuel);
        if let Some(loaded) = self.cell(metering).get() {
            return loaded.clone().run(call);
        }
        Box::pin(async move {
            let (stop, begun) = (call.stop.clone(), Instant::now());
            let loaded = tokio::select! {
                loaded = self.loaded(metering) => loaded,
                outcome = stop.requested() => return outcome,
            };
            call.usage.load.add_time(begun.elapsed());
            match loaded {
                Ok(loaded) => loaded.clone().run(call).await,
                Err(error) => Outcome::Refused { why: error.to_string() },
            }
        })
    }
}
