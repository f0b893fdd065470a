//! [`Program`]: a stored handler, which loads its program at the first call.

use std::sync::Arc;
use std::time::Instant;

use capstan_core::env::Env;
use capstan_core::feature::Features;
use capstan_core::manifest::{HistoryMode, Manifest, ManifestRoute, ManifestSchedule};
use capstan_core::mount::Mount;
use capstan_core::outcome::Outcome;
use capstan_core::policy::PolicyRequest;
use capstan_core::rate::Rate;
use capstan_core::retry::RetryPolicy;
use capstan_core::snapshot::Snapshot;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo};
use capstan_engine::handler_store::{HandlerStoreError, StoreError};
use capstan_sandbox::{Metering, Sandbox};
use capstan_store::{FilesLease, HandlerRecord, ProgramSummary, Programs, blocking};
use tokio::sync::OnceCell;

/// A handler that loads its program at the first call. At the first call with a limit on fuel, it loads the program a second time, with fuel
/// counting.
#[derive(Debug)]
pub(super) struct Program {
    record: Box<HandlerRecord>,
    /// The policy of the manifest, with the features that the program uses.
    policy: PolicyRequest,
    /// Its files, opened once. `None` if it has none, or if they are missing.
    files: Option<FilesLease>,
    sandbox: Sandbox,
    programs: Programs,
    unmetered: OnceCell<Arc<dyn Handler>>,
    metered: OnceCell<Arc<dyn Handler>>,
}

impl Program {
    /// Creates the handler of `record`, whose program may be loaded already.
    pub(super) fn new(
        sandbox: Sandbox,
        programs: Programs,
        record: Box<HandlerRecord>,
        files: Option<FilesLease>,
        loaded: Option<(Metering, Arc<dyn Handler>)>,
    ) -> Arc<Self> {
        let (unmetered, metered) = match loaded {
            None => (None, None),
            Some((Metering::Off, unmetered)) => (Some(unmetered), None),
            Some((Metering::On, metered)) => (None, Some(metered)),
        };
        let (unmetered, metered) = (OnceCell::new_with(unmetered), OnceCell::new_with(metered));
        let policy = PolicyRequest { features: Some(record.features().clone()), ..record.manifest.policy.clone() };
        Arc::new(Self { record, policy, files, sandbox, programs, unmetered, metered })
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
        let load = async || {
            let manifest = with_features(&self.record.manifest, self.record.features());
            load_stored(&self.sandbox, &self.programs, self.record.program(), &manifest, metering).await
        };
        self.cell(metering).get_or_try_init(load).await
    }
}

/// Loads the stored program `summary` with `manifest`. Compiles it only if its code is not stored.
pub(super) async fn load_stored(
    sandbox: &Sandbox,
    programs: &Programs,
    summary: ProgramSummary,
    manifest: &Manifest,
    metering: Metering,
) -> Result<Arc<dyn Handler>, HandlerStoreError> {
    let (checked, ProgramSummary { digest, size, .. }) = (programs.clone(), summary.clone());
    // Where the code is stored, the program is not read.
    blocking(move || checked.check_size(&digest, size)).await?;
    if let Some(loaded) = sandbox.load_stored(summary.clone(), manifest.clone(), metering).await? {
        return Ok(loaded);
    }
    let programs = programs.clone();
    let wasm = blocking(move || programs.wasm(&summary.digest)).await?;
    Ok(sandbox.load(wasm, manifest.clone(), metering).await?)
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

    fn argv0(&self) -> Option<&str> {
        self.record.manifest.argv0.as_deref()
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        self.record.manifest.snapshot.as_ref()
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

    fn routes(&self) -> &[ManifestRoute] {
        &self.record.manifest.route
    }

    fn files(&self) -> Option<Mount> {
        self.files.as_ref().map(FilesLease::mount)
    }

    fn history(&self) -> HistoryMode {
        self.record.manifest.history
    }

    fn has_files(&self) -> bool {
        self.record.info.files.is_some()
    }

    fn run(self: Arc<Self>, mut call: Call) -> HandlerFuture {
        match (&self.record.info.files, &self.files) {
            (None, _) => {}
            (Some(_), Some(files)) => call.mounts.push(files.mount()),
            (Some(files), None) => {
                let error = StoreError::Damaged(format!("the directory of files {}", files.digest));
                return Box::pin(std::future::ready(Outcome::Refused { why: error.to_string() }));
            }
        }
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
pub(super) fn with_features(manifest: &Manifest, features: &Features) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.policy.features = Some(features.clone());
    manifest
}
