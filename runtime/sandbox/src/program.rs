//! [`Program`]: the handler that loading a WebAssembly program returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::feature::Features;
use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo};
use capstan_store::{ProgramSummary, digest};

use super::LoadError;
use super::compile::{Compiler, Wanted};
use super::compiled_program::{CodeKey, CompiledProgram};
use super::engines::{ProfileEngine, ProfileEngines};
use super::guest_runtime::{CpuBudget, ShortRunStreak};
use super::http::{Client, HandlerResources, Instances};
use super::link::LinkedProgram;
use super::run_context::RunContext;
use super::snapshot::Initialiser;
use super::{foreign, kind, run};

/// A WebAssembly handler.
pub(super) struct Program {
    context: Arc<RunContext>,
    linked: Arc<LinkedProgram>,
    /// What its runs share. No other handler uses it.
    resources: HandlerResources,
    short_runs: ShortRunStreak,
    info: HandlerInfo,
    policy: PolicyRequest,
    env: Env,
    /// The name that its runs find as their `argv[0]`. `None` is the name of the handler.
    argv0: Option<String>,
    /// The arguments before those of the caller.
    args: Vec<String>,
    /// What its manifest configures for its runs.
    config: Arc<BTreeMap<String, String>>,
}

impl Program {
    /// Compiles `wasm`, or takes its code from the artifact store, and links it with the engine that it needs. Its runs use `context`. If its
    /// manifest asks for a snapshot, its initialisation may have as much memory as its runs.
    pub(super) async fn load(
        compiler: &Compiler,
        engines: &ProfileEngines,
        context: Arc<RunContext>,
        wasm: Bytes,
        manifest: Manifest,
        wanted: Wanted<'_>,
    ) -> Result<Self, LoadError> {
        let kind = kind::detect(&wasm)?;
        foreign::check(&wasm, kind)?;
        let size = wasm.len() as u64;
        let mut summary = ProgramSummary { digest: digest(&wasm), kind, size, features: Features::new() };
        let initialiser = Initialiser::new(&manifest, &context, compiler.max_memory());
        let wanted = Wanted { snapshot: initialiser.as_ref(), ..wanted };
        let CompiledProgram { engine, artifact } = compiler.artifact(engines, &summary, &wasm, wanted).await?;
        summary.features.clone_from(&engine.profile.features);
        let key = CodeKey::new(&summary, &engine, &Initialiser::suffix(initialiser.as_ref()));
        let linked = context.programs.get_or_link(key, engine, &artifact)?;
        Ok(Self::new(context, linked, summary, manifest))
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
        let key = CodeKey::new(&summary, &engine, &Initialiser::suffix(initialiser.as_ref()));
        if let Some(linked) = context.programs.get(&key, &engine) {
            return Ok(Some(Self::new(context, linked, summary, manifest)));
        }
        let compiled = compiler.stored(&engine, summary.kind, &key).await;
        let Some(CompiledProgram { engine, artifact }) = compiled else { return Ok(None) };
        let linked = context.programs.get_or_link(key, engine, &artifact)?;
        Ok(Some(Self::new(context, linked, summary, manifest)))
    }

    fn new(
        context: Arc<RunContext>,
        linked: Arc<LinkedProgram>,
        ProgramSummary { digest, kind, size, features }: ProgramSummary,
        manifest: Manifest,
    ) -> Self {
        let Manifest { mut policy, env, argv0, description, usage, program, runtime, instances, config, .. } = manifest;
        // A profile of a run would continue in the next one.
        let instances = instances.filter(|_| linked.can_be_reused() && !context.can_profile);
        let instances = instances.map(|settings| Instances::new(settings, context.idle_instances.clone()));
        // What a run may use follows from what the code uses.
        policy.features = Some(features.clone());
        let info = HandlerInfo {
            kind,
            digest: Some(digest),
            size,
            features: Some(features),
            is_library: linked.code.is_library(),
            answers_http: linked.code.answers_http(),
            description,
            usage,
            files: None,
            base: None,
            runtime,
        };
        let args = program.args.unwrap_or_default();
        let client = Arc::new(Client::new(context.roots.clone(), context.idle_connections.clone()));
        let resources = HandlerResources { client, instances };
        Self {
            context,
            linked,
            resources,
            short_runs: ShortRunStreak::default(),
            info,
            policy,
            env,
            argv0,
            args,
            config: config.into(),
        }
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
        if !self.args.is_empty() {
            call.args.splice(..0, self.args.iter().cloned());
        }
        call.config.clone_from(&self.config);
        Box::pin(async move {
            let program = self.clone();
            let budget = CpuBudget { limit: call.limits.cpu, usage: call.usage.clone(), stop: call.stop.clone() };
            let work =
                Box::pin(async move { run::run(&program.linked, &program.context, &program.resources, call).await });
            self.context.guest_runtime.run(work, budget, &self.short_runs).await
        })
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Program").field("info", &self.info).finish_non_exhaustive()
    }
}
