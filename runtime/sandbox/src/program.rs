//! [`Program`]: the handler that loading a WebAssembly program returns.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo};
use capstan_store::ProgramSummary;
use sha2::{Digest as _, Sha256};

use super::LoadError;
use super::artifact::Artifact;
use super::compile::Compiler;
use super::engines::ProfileEngine;
use super::guest_runtime::{CpuBudget, ShortRunStreak};
use super::link::LinkedProgram;
use super::run_context::RunContext;
use super::snapshot::Initialiser;
use super::{kind, run};

/// A WebAssembly handler.
pub(super) struct Program {
    context: Arc<RunContext>,
    linked: LinkedProgram,
    short_runs: ShortRunStreak,
    info: HandlerInfo,
    policy: PolicyRequest,
    env: Env,
    /// The name that its runs find as their `argv[0]`. `None` is the name of the handler.
    argv0: Option<String>,
}

impl Program {
    /// Compiles `wasm`, or takes its code from the artifact store, and links it. Its runs use `context`. If its manifest asks for a snapshot, its
    /// initialisation may have as much memory as its runs.
    pub(super) async fn load(
        compiler: &Compiler,
        context: Arc<RunContext>,
        engine: Arc<ProfileEngine>,
        wasm: Bytes,
        manifest: Manifest,
    ) -> Result<Self, LoadError> {
        let kind = kind::detect(&wasm)?;
        let summary = ProgramSummary { digest: digest(&wasm), kind, size: wasm.len() as u64 };
        let initialiser = Initialiser::new(&manifest, &context, compiler.max_memory());
        let artifact = compiler.artifact(&engine, &summary, &wasm, initialiser.as_ref()).await?;
        Self::link(context, engine, &artifact, summary, manifest)
    }

    /// Takes the code of the program `summary` from the artifact store and links it. Returns `None` if its code is not stored. Its runs use
    /// `context`.
    pub(super) async fn load_stored(
        compiler: &Compiler,
        context: Arc<RunContext>,
        engine: Arc<ProfileEngine>,
        summary: ProgramSummary,
        manifest: Manifest,
    ) -> Result<Option<Self>, LoadError> {
        let initialiser = Initialiser::new(&manifest, &context, compiler.max_memory());
        let artifact = compiler.stored(&engine, &summary, initialiser.as_ref()).await;
        let Some(artifact) = artifact else { return Ok(None) };
        Self::link(context, engine, &artifact, summary, manifest).map(Some)
    }

    fn link(
        context: Arc<RunContext>,
        engine: Arc<ProfileEngine>,
        artifact: &Artifact,
        ProgramSummary { digest, kind, size }: ProgramSummary,
        manifest: Manifest,
    ) -> Result<Self, LoadError> {
        let linked = LinkedProgram::new(engine, artifact)?;
        let info =
            HandlerInfo { kind, digest: Some(digest), size, description: manifest.description, usage: manifest.usage };
        let Manifest { policy, env, argv0, .. } = manifest;
        Ok(Self { context, linked, short_runs: ShortRunStreak::default(), info, policy, env, argv0 })
    }
}

impl Handler for Program {
    fn info(&self) -> HandlerInfo {
        self.info.clone()
    }

    fn policy_request(&self) -> &PolicyRequest {
        &self.policy
    }

    fn env(&self) -> Env {
        self.env.clone()
    }

    fn run(self: Arc<Self>, mut call: Call) -> HandlerFuture {
        if let Some(argv0) = &self.argv0 {
            call.name.clone_from(argv0);
        }
        Box::pin(async move {
            let program = self.clone();
            let budget = CpuBudget { limit: call.limits.cpu, usage: call.usage.clone(), stop: call.stop.clone() };
            let work = Box::pin(async move { run::run(&program.linked, &program.context, call).await });
            self.context.guest_runtime.run(work, budget, &self.short_runs).await
        })
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Program").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Returns the SHA-256 digest of `wasm` in the form `sha256:…`.
fn digest(wasm: &[u8]) -> String {
    let hash = Sha256::digest(wasm);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
