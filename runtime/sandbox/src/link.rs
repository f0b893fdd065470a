//! [`LinkedProgram`]: a program that is compiled, checked and linked, so that a run only instantiates it.

use std::sync::Arc;

use capstan_core::feature::Feature;
use wasmtime::component::{self, Component};
use wasmtime::{Engine, ExternType, InstancePre, Module, ModuleExport};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p3;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::LoadError;
use super::artifact::{Artifact, Compiled};
use super::engines::ProfileEngine;
use super::host::Host;
use super::limiter::MAX_MEMORIES_PER_RUN;
use super::stores;

/// A program that is ready to run.
pub(super) struct LinkedProgram {
    pub(super) engine: Arc<ProfileEngine>,
    pub(super) code: Code,
    /// Whether it imports an interface of `wasi:sockets`, or one that sends HTTP requests. Preview 1 has no call that opens a socket.
    pub(super) uses_network: bool,
    /// Whether it imports an interface of [`stores`].
    pub(super) has_stores: bool,
}

/// What a run instantiates.
pub(super) enum Code {
    /// `start` is `None` for a library.
    Module { pre: InstancePre<Host>, start: Option<ModuleExport> },
    /// `command` is `None` for a library, and `proxy` for what does not answer HTTP requests, each by WASI 0.2.
    Component {
        pre: component::InstancePre<Host>,
        command: Option<CommandPre<Host>>,
        proxy: Option<ProxyPre<Host>>,
        preview3: Preview3,
        component: Component,
    },
}

/// The entry points of WASI 0.3. There are none in a program that does not have the feature `p3`.
#[derive(Default)]
pub(super) struct Preview3 {
    pub(super) command: Option<p3::bindings::CommandPre<Host>>,
    pub(super) service: Option<ServicePre<Host>>,
}

impl LinkedProgram {
    /// Loads the code of `artifact` into `engine`, checks its exports, and resolves its imports.
    ///
    /// # Errors
    /// [`LoadError`] if it imports something that Capstan does not provide, is not a command, or exceeds a size limit.
    pub(super) fn new(engine: Arc<ProfileEngine>, artifact: &Artifact) -> Result<Self, LoadError> {
        let code = match artifact.load(&engine.engine)? {
            Compiled::Module(module) => link_module(&engine, &module),
            Compiled::Component(component) => link_component(&engine, &component),
        }?;
        let uses_network = code.imports_network(&engine.engine);
        let has_stores = match &code {
            Code::Module { .. } => false,
            Code::Component { component, .. } => imports_stores(&engine.engine, component),
        };
        Ok(Self { engine, code, uses_network, has_stores })
    }

    /// Returns whether an instance of it can answer more than one request. Open sockets and stores would count for the request that opened them.
    pub(super) fn can_be_reused(&self) -> bool {
        self.code.answers_http() && !self.uses_network && !self.has_stores
    }
}

impl std::fmt::Debug for LinkedProgram {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LinkedProgram").field("uses_network", &self.uses_network).finish_non_exhaustive()
    }
}

impl Code {
    /// Returns whether there is no entry point, so that runs have to name a function.
    pub(super) fn is_library(&self) -> bool {
        !self.is_command() && !self.answers_http()
    }

    /// Returns whether it has a main function.
    pub(super) fn is_command(&self) -> bool {
        match self {
            Self::Module { start, .. } => start.is_some(),
            Self::Component { command, preview3, .. } => command.is_some() || preview3.command.is_some(),
        }
    }

    /// Returns whether it answers HTTP requests.
    pub(super) fn answers_http(&self) -> bool {
        match self {
            Self::Module { .. } => false,
            Self::Component { proxy, preview3, .. } => proxy.is_some() || preview3.service.is_some(),
        }
    }

    fn imports_network(&self, engine: &Engine) -> bool {
        const INTERFACES: [&str; 4] =
            ["wasi:sockets/", "wasi:http/outgoing-handler@", "wasi:http/client@", "wasi:http/handler@"];
        match self {
            Self::Module { .. } => false,
            Self::Component { component, .. } => {
                let interface = component.component_type();
                let mut imports = interface.imports(engine);
                imports.any(|(name, _)| INTERFACES.iter().any(|prefix| name.starts_with(prefix)))
            }
        }
    }
}

fn link_module(engine: &ProfileEngine, module: &Module) -> Result<Code, LoadError> {
    let linker = engine.linkers.modules().map_err(|error| cannot_link(&error))?;
    let memories = module.resources_required().num_memories;
    if memories as usize > MAX_MEMORIES_PER_RUN {
        return Err(LoadError::TooComplex(format!("it has {memories} memories, more than {MAX_MEMORIES_PER_RUN}")));
    }
    let start = match (module.get_export("_start"), module.get_export_index("_start")) {
        (Some(ExternType::Func(signature)), start) if signature.params().len() + signature.results().len() == 0 => {
            start
        }
        (None, _) => None,
        _ => {
            return Err(LoadError::NotACommand("`_start` is not a function without parameters and results".into()));
        }
    };
    let pre = linker.instantiate_pre(module).map_err(|error| LoadError::UnknownImports(vec![format!("{error:#}")]))?;
    Ok(Code::Module { pre, start })
}

fn link_component(engine: &ProfileEngine, component: &Component) -> Result<Code, LoadError> {
    let linker = match imports_stores(&engine.engine, component) {
        true => engine.linkers.components_with_stores(),
        false => engine.linkers.components(),
    };
    let linker = linker.map_err(|error| cannot_link(&error))?;
    let pre =
        linker.instantiate_pre(component).map_err(|error| LoadError::UnknownImports(vec![format!("{error:#}")]))?;
    let command = CommandPre::new(pre.clone()).ok();
    let proxy = ProxyPre::new(pre.clone()).ok();
    let preview3 = match engine.profile.has(Feature::P3) {
        true => Preview3 {
            command: p3::bindings::CommandPre::new(pre.clone()).ok(),
            service: ServicePre::new(pre.clone()).ok(),
        },
        false => Preview3::default(),
    };
    Ok(Code::Component { pre, command, proxy, preview3, component: component.clone() })
}

fn imports_stores(engine: &Engine, component: &Component) -> bool {
    component.component_type().imports(engine).any(|(name, _)| stores::INTERFACES.contains(&name))
}

fn cannot_link(error: &wasmtime::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot define what guests may import: {error:#}"))
}
