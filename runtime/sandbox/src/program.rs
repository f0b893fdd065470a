//! `Program`: a wasm handler, compiled, checked and pre-linked.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::env::Env;
use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use capstan_engine::handler::{Call, Handler, HandlerFuture, HandlerInfo, Kind};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, ExternType, InstancePre, Module, ModuleExport, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::artifact::{Artifact, Compiled};
use super::engines::Machine;
use super::guest_runtime::{Budget, Pace};
use super::host::Host;
use super::network::Resolver;
use super::profile::MEMORIES_A_RUN;
use super::{LoadError, Sandbox, run};

/// A wasm handler.
pub(super) struct Program {
    pub(super) sandbox: Sandbox,
    pub(super) machine: Arc<Machine>,
    pub(super) code: Code,
    /// Whether it can ask for sockets.
    has_sockets: bool,
    pace: Pace,
    about: HandlerInfo,
    asked: PolicyRequest,
    env: Env,
    /// What its runs are called, where that is not the name of the handler.
    argv0: Option<String>,
}

/// What a run instantiates.
pub(super) enum Code {
    Module { pre: InstancePre<Host>, start: ModuleExport },
    Component { pre: CommandPre<Host>, component: Component },
}

impl Program {
    pub(super) async fn load(
        sandbox: Sandbox,
        machine: Arc<Machine>,
        wasm: Bytes,
        manifest: Manifest,
    ) -> Result<Self, LoadError> {
        let kind = kind(&wasm)?;
        let digest = digest(&wasm);
        let artifact = sandbox.0.compiler.artifact(&machine, kind, &wasm, &digest).await?;
        let code = link(&machine, &artifact)?;
        let about = HandlerInfo {
            kind,
            digest: Some(digest),
            size: wasm.len() as u64,
            description: manifest.description,
            usage: manifest.usage,
        };
        let has_sockets = code.has_sockets(&machine.engine);
        let Manifest { policy: asked, env, argv0, .. } = manifest;
        Ok(Self { sandbox, machine, code, has_sockets, pace: Pace::default(), about, asked, env, argv0 })
    }

    /// What its names are looked up with, where it can ask for any.
    pub(super) fn resolver(&self) -> Option<&Resolver> {
        self.has_sockets.then_some(&self.sandbox.0.resolver)
    }
}

impl Code {
    /// Whether it imports any interface of sockets; preview 1 has no call that opens one.
    fn has_sockets(&self, engine: &Engine) -> bool {
        match self {
            Self::Module { .. } => false,
            Self::Component { component, .. } => {
                component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:sockets/"))
            }
        }
    }
}

impl Handler for Program {
    fn info(&self) -> HandlerInfo {
        self.about.clone()
    }

    fn policy_request(&self) -> &PolicyRequest {
        &self.asked
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
            let budget = Budget { limit: call.limits.cpu, usage: call.usage.clone(), stop: call.stop.clone() };
            let work = Box::pin(async move { run::run(&program, call).await });
            self.sandbox.0.guests.run(work, budget, &self.pace).await
        })
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Program").field("about", &self.about).finish_non_exhaustive()
    }
}

/// Tells modules from components by their first eight bytes.
pub(super) fn kind(wasm: &[u8]) -> Result<Kind, LoadError> {
    if Engine::detect_precompiled(wasm).is_some() || wasm.starts_with(b"\x7fELF") {
        return Err(LoadError::Precompiled);
    }
    match wasm {
        [] => Err(LoadError::NotWasm("it is empty".to_owned())),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Kind::Module),
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => Ok(Kind::Component),
        [b'\0', b'a', b's', b'm', version @ ..] => {
            Err(LoadError::NotWasm(format!("unknown version [{}]", hex(version))))
        }
        _ if is_text(wasm) => Err(LoadError::TextFormat),
        other => Err(LoadError::NotWasm(format!("it starts with [{}] instead of [00 61 73 6d]", hex(other)))),
    }
}

/// The first four bytes, to show.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Whether it looks like the text format: an opening bracket after white space and comments.
fn is_text(wasm: &[u8]) -> bool {
    let start = wasm.trim_ascii_start();
    start.starts_with(b"(module")
        || start.starts_with(b"(component")
        || start.starts_with(b";;")
        || start.starts_with(b"(;")
}

fn digest(wasm: &[u8]) -> String {
    let hash = Sha256::digest(wasm);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn link(machine: &Machine, artifact: &Artifact) -> Result<Code, LoadError> {
    match artifact.load(&machine.engine)? {
        Compiled::Module(module) => link_module(machine, &module),
        Compiled::Component(component) => link_component(machine, &component),
    }
}

fn link_module(machine: &Machine, module: &Module) -> Result<Code, LoadError> {
    let linker = &machine.linkers.modules;
    let memories = module.resources_required().num_memories;
    if memories as usize > MEMORIES_A_RUN {
        return Err(LoadError::TooComplex(format!("{memories} memories, more than {MEMORIES_A_RUN}")));
    }
    // The linker answers for a store only; this one never runs anything.
    let host = Host::new(Call::empty(), None).map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
    let mut store = Store::new(&machine.engine, host);
    let unknown: Vec<_> = module
        .imports()
        .filter(|import| linker.get_by_import(&mut store, import).is_none())
        // Its author chose the names: what is in them is shown, and does nothing to a terminal.
        .map(|import| format!("{}.{}", import.module().escape_debug(), import.name().escape_debug()))
        .collect();
    if !unknown.is_empty() {
        return Err(LoadError::UnknownImports(unknown));
    }
    let start = match (module.get_export("_start"), module.get_export_index("_start")) {
        (Some(ExternType::Func(signature)), Some(start))
            if signature.params().len() + signature.results().len() == 0 =>
        {
            start
        }
        (Some(_), _) => {
            return Err(LoadError::NotACommand("`_start` is not a function without parameters and results".into()));
        }
        (None, _) => {
            return Err(LoadError::NotACommand(
                "it exports no `_start`; build it as a program, not as a library".into(),
            ));
        }
    };
    let pre = linker.instantiate_pre(module).map_err(|error| LoadError::UnknownImports(vec![format!("{error:#}")]))?;
    Ok(Code::Module { pre, start })
}

fn link_component(machine: &Machine, component: &Component) -> Result<Code, LoadError> {
    let linker = &machine.linkers.components;
    let engine = &machine.engine;
    let foreign: Vec<_> = component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with("wasi:"))
        .collect();
    if !foreign.is_empty() {
        return Err(LoadError::UnknownImports(foreign));
    }
    let pre =
        linker.instantiate_pre(component).map_err(|error| LoadError::UnknownImports(vec![format!("{error:#}")]))?;
    let command = CommandPre::new(pre).map_err(|_| {
        LoadError::NotACommand(
            "the component exports no `wasi:cli/run@0.2`; build it as a program, not as a library".into(),
        )
    })?;
    Ok(Code::Component { pre: command, component: component.clone() })
}
