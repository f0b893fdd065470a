//! [`Base`]: the handler whose program a pushed handler shares.

use capstan_core::manifest::Manifest;
use capstan_core::mount::APP;
use capstan_engine::engine::Engine;
use capstan_engine::handler::{BaseInfo, HandlerName, Kind};
use capstan_engine::handler_store::BaseError;
use capstan_engine::registry::Source;
use capstan_store::{ProgramSummary, Unpacked};

/// The handler whose program a pushed handler shares, as it is at the push.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) program: ProgramSummary,
    pub(super) info: BaseInfo,
    manifest: Manifest,
}

impl Base {
    /// Returns the handler `from`, as the base of the handler `name`.
    ///
    /// A base has a program of its own. So no handler can be its own base over others, and its digest tells all about its program.
    ///
    /// # Errors
    /// [`BaseError`]
    pub(super) fn resolve(engine: &Engine, name: &HandlerName, from: &str) -> Result<Self, BaseError> {
        if from == name.as_str() {
            return Err(BaseError::Itself(from.to_owned()));
        }
        let resolved = engine.resolve(from).map_err(|_| BaseError::Unknown(from.to_owned()))?;
        match resolved.source() {
            Source::Pushed => {}
            Source::Builtin => return Err(BaseError::Builtin(from.to_owned())),
            Source::CatchAll => return Err(BaseError::Unknown(from.to_owned())),
        }
        let info = resolved.info();
        if let Some(base) = &info.base {
            return Err(BaseError::Chain { name: from.to_owned(), base: base.name.clone() });
        }
        let digest = info.digest.clone().filter(|_| info.kind != Kind::Native);
        let digest = digest.ok_or_else(|| BaseError::Builtin(from.to_owned()))?;
        let handler = resolved.handler();
        let manifest = Manifest {
            // A snapshot was initialised with the program name of the manifest, and is shared only under the same name.
            argv0: handler.argv0().or(handler.snapshot().is_none().then_some(from)).map(str::to_owned),
            policy: handler.policy_request().clone(),
            env: handler.env(),
            runtime: info.runtime.clone(),
            snapshot: handler.snapshot().cloned(),
            ..Manifest::default()
        };
        Ok(Self {
            program: ProgramSummary {
                digest: digest.clone(),
                kind: info.kind,
                size: info.size,
                features: handler.policy_request().features.clone().unwrap_or_default(),
            },
            info: BaseInfo { name: from.to_owned(), digest },
            manifest,
        })
    }

    /// Adds to `manifest` what the base sets and it does not: policy, variables, program name, snapshot, and the arguments that run the script in
    /// `files`.
    ///
    /// # Errors
    /// [`BaseError::NoMain`] if it has no arguments, and the runtime does not know which file starts the script.
    pub(super) fn complete(&self, manifest: &mut Manifest, files: Option<&Unpacked>) -> Result<(), BaseError> {
        let base = &self.manifest;
        manifest.policy = std::mem::take(&mut manifest.policy).or(base.policy.clone());
        let mut env = base.env.clone();
        env.extend(&manifest.env);
        manifest.env = env;
        manifest.argv0 = manifest.argv0.take().or_else(|| base.argv0.clone());
        manifest.snapshot = manifest.snapshot.take().or_else(|| base.snapshot.clone());
        if let (None, Some(files)) = (&manifest.program.args, files) {
            let runtime = base.runtime.clone().unwrap_or_default();
            let args = runtime.script_args(APP, &files.paths().collect::<Vec<_>>());
            manifest.program.args = Some(args.ok_or(BaseError::NoMain(runtime.main))?);
        }
        Ok(())
    }
}
